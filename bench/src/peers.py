"""Other people's libraries signing for a second each, as often as they can: prints signatures per second."""

import asyncio
import io
import sys
import time

from lxml import etree


def rate(work):
    work()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < 1.0:
        work()
        count += 1
    print(count / (time.perf_counter() - started))


def signxml(document, key, cert):
    from cryptography.hazmat.primitives import serialization
    from signxml import DigestAlgorithm, SignatureMethod, methods
    from signxml.xades import XAdESSigner

    private = serialization.load_pem_private_key(key, None)
    signer = XAdESSigner(
        method=methods.enveloped,
        signature_algorithm=SignatureMethod.ECDSA_SHA256
        if hasattr(private, "curve")
        else SignatureMethod.RSA_SHA256,
        digest_algorithm=DigestAlgorithm.SHA256,
    )
    rate(lambda: etree.tostring(signer.sign(etree.fromstring(document), key=private, cert=cert.decode())))


def pyhanko(document, key, cert):
    from pyhanko.keys import load_cert_from_pemder, load_private_key_from_pemder
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.sign import PdfSignatureMetadata, PdfSigner, SimpleSigner
    from pyhanko.sign.fields import SigSeedSubFilter
    from pyhanko_certvalidator.registry import SimpleCertificateStore

    signer = SimpleSigner(
        load_cert_from_pemder("cert.pem"), load_private_key_from_pemder("key.pem", None), SimpleCertificateStore()
    )
    metadata = PdfSignatureMetadata(field_name="Signature1", md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES)

    def work():
        pdf = PdfSigner(metadata, signer)
        asyncio.run(pdf.async_sign_pdf(IncrementalPdfFileWriter(io.BytesIO(document))))

    rate(work)


def read(name):
    with open(name, "rb") as file:
        return file.read()


globals()[sys.argv[1]](read(sys.argv[2]), read("key.pem"), read("cert.pem"))
