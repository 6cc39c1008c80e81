"""Other people's libraries as judges: one word says what to do, the rest are files in the working folder."""

import sys

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from lxml import etree

DS = "{http://www.w3.org/2000/09/xmldsig#}"


def bytes_of(name):
    with open(name, "rb") as file:
        return file.read()


def certificate(name):
    return x509.load_pem_x509_certificate(bytes_of(name))


def private_key(name):
    return serialization.load_pem_private_key(bytes_of(name), None)


def signxml_verify(document, cert, references):
    """signxml, and what it says was signed."""
    from signxml import DigestAlgorithm, SignatureMethod
    from signxml.xades import XAdESSignatureConfiguration, XAdESVerifier

    methods = [
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.RSA_SHA256,
        SignatureMethod.SHA256_RSA_MGF1,
    ]
    expected = XAdESSignatureConfiguration(
        expect_references=int(references),
        signature_methods=frozenset(methods),
        digest_algorithms=frozenset([DigestAlgorithm.SHA256]),
        require_x509=True,
    )
    results = XAdESVerifier().verify(
        bytes_of(document), x509_cert=certificate(cert), expect_config=expected
    )
    for result in results:
        print(etree.QName(result.signed_xml).localname if result.signed_xml is not None else "-")


def signxml_sign(document, output, key, cert):
    from signxml import CanonicalizationMethod, DigestAlgorithm, SignatureMethod, methods
    from signxml.xades import XAdESDataObjectFormat, XAdESSigner

    private = private_key(key)
    elliptic = hasattr(private, "curve")
    signer = XAdESSigner(
        method=methods.enveloped,
        signature_algorithm=SignatureMethod.ECDSA_SHA256 if elliptic else SignatureMethod.SHA256_RSA_MGF1,
        digest_algorithm=DigestAlgorithm.SHA256,
        c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_1,
        data_object_format=XAdESDataObjectFormat(Description="x", MimeType="text/xml"),
    )
    signed = signer.sign(
        etree.fromstring(bytes_of(document)),
        key=private,
        cert=bytes_of(cert).decode(),
        always_add_key_value=False,
    )
    with open(output, "wb") as file:
        file.write(etree.tostring(signed))


def xmlsec_verify(document, cert):
    """libxmlsec, all signatures that are not inside another one's properties, and those."""
    import xmlsec

    root = etree.fromstring(bytes_of(document)).getroottree().getroot()
    count = 0
    for signature in root.iter(DS + "Signature"):
        context = xmlsec.SignatureContext()
        for element in root.iter():
            for name in ("Id", "ID"):
                if isinstance(element.tag, str) and element.get(name):
                    context.register_id(element, name)
        context.key = xmlsec.Key.from_file(cert, xmlsec.KeyFormat.CERT_PEM)
        context.verify(signature)
        count += 1
    print(count)


def xmlsec_decrypt(document, output, key):
    import xmlsec

    manager = xmlsec.KeysManager()
    manager.add_key(xmlsec.Key.from_file(key, xmlsec.KeyFormat.PEM))
    root = etree.fromstring(bytes_of(document))
    enciphered = xmlsec.tree.find_node(root, "EncryptedData", xmlsec.constants.EncNs)
    plain = xmlsec.EncryptionContext(manager).decrypt(enciphered)
    with open(output, "wb") as file:
        file.write(etree.tostring(plain))


def xmlsec_encrypt(document, output, cert):
    import xmlsec

    manager = xmlsec.KeysManager()
    manager.add_key(xmlsec.Key.from_file(cert, xmlsec.KeyFormat.CERT_PEM))
    root = etree.fromstring(bytes_of(document))
    base64 = "".join(bytes_of(cert).decode().split("-----")[2].split())
    template = etree.fromstring(
        f"""<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#"
          Type="http://www.w3.org/2001/04/xmlenc#Element">
        <xenc:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#aes256-gcm"/>
        <ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><xenc:EncryptedKey>
          <xenc:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#rsa-oaep">
            <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>
            <xenc11:MGF xmlns:xenc11="http://www.w3.org/2009/xmlenc11#"
              Algorithm="http://www.w3.org/2009/xmlenc11#mgf1sha256"/>
          </xenc:EncryptionMethod>
          <ds:KeyInfo><ds:X509Data><ds:X509Certificate>{base64}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>
          <xenc:CipherData><xenc:CipherValue/></xenc:CipherData>
        </xenc:EncryptedKey></ds:KeyInfo>
        <xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedData>"""
    )
    context = xmlsec.EncryptionContext(manager)
    context.key = xmlsec.Key.generate(xmlsec.constants.KeyDataAes, 256, xmlsec.constants.KeyDataTypeSession)
    enciphered = context.encrypt_xml(template, root)
    with open(output, "wb") as file:
        file.write(etree.tostring(enciphered.getroottree()))


def ecies_open(key, template):
    """The TI's ECIES (gemSpec_COS 6.8.2.3) in other words than Langlauf's."""
    from cryptography.hazmat.primitives import cmac, hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    assert template[0] == 0xA6 and template[2 if template[1] == 0x81 else 1] == len(template) - 3
    fields, rest = [], template[3:]
    while rest:
        head = 3 if rest[0] == 0x7F else 2
        fields.append(rest[head : head + rest[head - 1]])
        rest = rest[head + rest[head - 1] :]
    _, point, cryptogram, mac = fields
    peer = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, point[2:])
    shared = key.exchange(ec.ECDH(), peer)

    def derive(counter):
        digest = hashes.Hash(hashes.SHA256())
        digest.update(shared + counter.to_bytes(4, "big"))
        return digest.finalize()

    assert cryptogram[0] == 2
    pad = lambda data: data + b"\x80" + bytes(-(len(data) + 1) % 16)
    check = cmac.CMAC(algorithms.AES(derive(2)))
    check.update(pad(cryptogram[1:]))
    assert check.finalize()[:8] == mac
    block = Cipher(algorithms.AES(derive(1)), modes.ECB()).encryptor()
    vector = block.update(bytes(16))
    cipher = Cipher(algorithms.AES(derive(1)), modes.CBC(vector)).decryptor()
    return cipher.update(cryptogram[1:]).rstrip(b"\0")[:-1]


def cms_open(envelope, output, key, cert):
    """AuthEnvelopedData with asn1crypto and cryptography."""
    from asn1crypto import cms
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    private, own = private_key(key), certificate(cert)
    info = cms.ContentInfo.load(bytes_of(envelope), strict=True)
    assert info["content_type"].dotted == "1.2.840.113549.1.9.16.1.23"
    data = info["content"]
    for recipient in data["recipient_infos"]:
        recipient = recipient.chosen
        if recipient["rid"].chosen["serial_number"].native == own.serial_number:
            break
    else:
        raise SystemExit("no recipient with this certificate")
    wrapped = recipient["encrypted_key"].native
    if hasattr(private, "curve"):
        assert recipient["key_encryption_algorithm"]["algorithm"].dotted == "1.2.276.0.76.4.222"
        content_key = ecies_open(private, wrapped)
    else:
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        content_key = private.decrypt(wrapped, oaep)
    content = data["auth_encrypted_content_info"]
    gcm = content["content_encryption_algorithm"]["parameters"].parsed
    nonce = gcm.contents[2:14]
    assert gcm.contents == b"\x04\x0c" + nonce + b"\x02\x01\x10"
    plain = AESGCM(content_key).decrypt(
        nonce, content["encrypted_content"].native + data["mac"].native, None
    )
    with open(output, "wb") as file:
        file.write(plain)


def validation(anchor, ocsp=None):
    from asn1crypto import ocsp as asn1_ocsp
    from pyhanko.keys import load_cert_from_pemder
    from pyhanko_certvalidator import ValidationContext

    roots = [load_cert_from_pemder(anchor)]
    if ocsp is None:
        return ValidationContext(trust_roots=roots, allow_fetching=False, revocation_mode="soft-fail")
    response = asn1_ocsp.OCSPResponse.load(bytes_of(ocsp))
    return ValidationContext(
        trust_roots=roots, allow_fetching=False, revocation_mode="require", ocsps=[response]
    )


def pyhanko_verify(document, anchor, *ocsp):
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation import validate_pdf_signature

    with open(document, "rb") as file:
        signatures = PdfFileReader(file, strict=True).embedded_signatures
        for signature in signatures:
            status = validate_pdf_signature(signature, validation(anchor, *ocsp))
            assert status.bottom_line and status.intact and status.valid and status.trusted, status.summary()
            print(status.coverage.name, signature.sig_object.get("/Reason", "-"))


def pyhanko_device(document, anchors):
    """A signature by a device: its certificate is one for authentication, under one of several CAs."""
    from asn1crypto import pem
    from asn1crypto.x509 import Certificate
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation import validate_pdf_signature
    from pyhanko.sign.validation.settings import KeyUsageConstraints
    from pyhanko_certvalidator import ValidationContext

    roots = [Certificate.load(der) for _, _, der in pem.unarmor(bytes_of(anchors), multiple=True)]
    context = ValidationContext(trust_roots=roots, allow_fetching=False, revocation_mode="soft-fail")
    usage = KeyUsageConstraints(key_usage={"digital_signature"})
    with open(document, "rb") as file:
        (signature,) = PdfFileReader(file, strict=True).embedded_signatures
        status = validate_pdf_signature(signature, context, key_usage_settings=usage)
        assert status.bottom_line and status.intact and status.valid and status.trusted, status.summary()
        print(status.coverage.name, signature.sig_object.get("/Reason", "-"))


def pyhanko_sign(document, output, key, cert, anchor):
    from pyhanko.keys import load_cert_from_pemder, load_private_key_from_pemder
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.sign import signers
    from pyhanko.sign.fields import SigSeedSubFilter
    from pyhanko.sign.signers.pdf_signer import PdfSignatureMetadata, PdfSigner
    from pyhanko_certvalidator.registry import SimpleCertificateStore

    store = SimpleCertificateStore()
    store.register(load_cert_from_pemder(anchor))
    signer = signers.SimpleSigner(
        signing_cert=load_cert_from_pemder(cert),
        signing_key=load_private_key_from_pemder(key, None),
        cert_registry=store,
        prefer_pss=not hasattr(private_key(key), "curve"),
    )
    meta = PdfSignatureMetadata(field_name="Sig1", md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES)
    with open(document, "rb") as file:
        signed = PdfSigner(meta, signer).sign_pdf(IncrementalPdfFileWriter(file))
        with open(output, "wb") as out:
            out.write(signed.getbuffer())


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
