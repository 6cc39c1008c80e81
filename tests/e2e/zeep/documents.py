"""Documents, with the official WSDLs and schemas, in every format and with every kind of key; what the Konnektor signs and
enciphers is judged by openssl, xmlsec1, libxmlsec, signxml and pyHanko, and what those make is judged by the Konnektor.
Exit code 0 is success."""
import base64
import datetime
import hashlib
import os
import re
import subprocess

import judge
from common import *  # noqa: F403 the shared half of these scripts
from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

os.chdir(folder)
CMS, XML, SMIME, PDF = "urn:ietf:rfc:5652", "urn:ietf:rfc:3275", "urn:ietf:rfc:5751", "http://uri.etsi.org/02778/3"
PARALLEL = "http://ws.gematik.de/conn/sig/sigupdate/parallel"
COUNTER = "http://ws.gematik.de/conn/sig/sigupdate/counter/documentexcluding"
USER = {**CONTEXT, "UserId": "8a4b1c7e-0f6d-4c1e-9a53-5d2f1b7c9e10"}

events = service("conn/EventService.wsdl", "EventService", "/ws/EventService")
handles = {card.CardType: card.CardHandle for card in call(events, "GetCards", Context=CONTEXT).Cards.Card}
hba, smcb, egk = handles["HBA"], handles["SMC-B"], handles["EGK"]
cards = service("conn/CardService.wsdl", "CardService", "/ws/CardService")
assert pin(cards, "VerifyPin", smcb, "PIN.SMC", "123456").PinResult == "OK"
thread = typing("123456")
assert call(cards, "VerifyPin", Context=USER, CardHandle=hba, PinTyp="PIN.CH").PinResult == "OK"
thread.join()

signatures = {
    "7.4": service("conn/SignatureService_V7_4_2.wsdl", "SignatureService 7.4", "/ws/SignatureService"),
    "7.4.0": service("conn/SignatureService.wsdl", "SignatureService 7.4", "/ws/SignatureService"),
    "7.5.5": service("conn/SignatureService_V7_5_5.wsdl", "SignatureService 7.5", "/ws/SignatureService"),
    "7.5.6": service("conn/SignatureService_V7_5_6.wsdl", "SignatureService 7.5", "/ws/SignatureService"),
    "7.5.7": service("conn/SignatureService_V7_5_7.wsdl", "SignatureService 7.5", "/ws/SignatureService"),
}
newest = signatures["7.5.7"]


def job(svc=newest):
    return call(svc, "GetJobNumber", Context=USER)


def request(document, kind=None, xml=False, mime="text/plain; charset=utf-8", revocation=False, short="Rezept 1", **inputs):
    options = dict(inputs)
    if kind:
        options["SignatureType"] = kind
    content = {"Base64XML": document} if xml else {"Base64Data": {"_value_1": document, "MimeType": mime}}
    reference = options.pop("RefURI", None)
    return {
        "RequestID": "R1",
        "OptionalInputs": options,
        "Document": {"ID": "R1", "ShortText": short, "RefURI": reference, **content},
        "IncludeRevocationInfo": revocation,
    }


def sign(card, one, svc=newest, crypt="ECC", context=None):
    more = {"Crypt": crypt} if crypt else {}
    doctor = card == hba
    thread = typing("123456") if doctor else None
    answer = call(svc, "SignDocument", CardHandle=card, Context=context or (USER if doctor else CONTEXT), TvMode="NONE",
                  JobNumber=job(svc), SignRequest=[one], **more)
    if thread:
        thread.join()
    return answer[0] if isinstance(answer, list) else answer.SignResponse[0]


def signed_bytes(answer):
    found = answer.SignatureObject
    if found is not None and found.Base64Signature is not None:
        return found.Base64Signature._value_1
    document = answer.OptionalOutputs.DocumentWithSignature
    return document.Base64XML or document.Base64Data._value_1


def warnings(answer):
    return [trace.Code for trace in answer.Status.Error.Trace] if answer.Status.Error else []


def verify(document=None, signature=None, xml=False, mime="", kind=CMS, svc=newest, revocation=False, **inputs):
    arguments = {}
    if document is not None:
        arguments["Document"] = {"Base64XML": document} if xml else {"Base64Data": {"_value_1": document, "MimeType": mime}}
    if signature is not None:
        arguments["SignatureObject"] = {"Base64Signature": {"_value_1": signature, "Type": kind}}
    return call(svc, "VerifyDocument", Context=CONTEXT, OptionalInputs=inputs, IncludeRevocationInfo=revocation, **arguments)


def result(answer):
    return answer.VerificationResult.HighLevelResult


def openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def cms_holds(cms, document=None):
    Path("signed.p7").write_bytes(cms)
    more = []
    if document is not None:
        Path("document").write_bytes(document)
        more = ["-content", "document"]
    return openssl("cms", "-verify", "-binary", "-inform", "DER", "-in", "signed.p7", "-CAfile", "signers.pem",
                   "-purpose", "any", "-partial_chain", *more)


def xml_holds(xml, cert):
    Path("signed.xml").write_bytes(xml)
    judge.xmlsec_verify("signed.xml", cert)


def own_certificate(card, reference, crypt):
    certificates = service("conn/CertificateService_v6_0_1.wsdl", "CertificateService", "/ws/CertificateService")
    context = USER if card == hba else CONTEXT
    read = call(certificates, "ReadCardCertificate", CardHandle=card, Context=context, CertRefList={"CertRef": [reference]}, Crypt=crypt)
    der = read.X509DataInfoList.X509DataInfo[0].X509Data.X509Certificate
    certificate = x509.load_der_x509_certificate(der)
    Path(f"{reference}.{crypt}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate


def status_from_ca(cert, anchor):
    """pyHanko believes a responder only if the CA has certified it; in the TI the trust list does that. So the CA speaks
    for itself here."""
    authority, now = judge.certificate(anchor), datetime.datetime.now(datetime.UTC)
    key = judge.private_key(anchor.replace(".pem", ".key"))
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=judge.certificate(cert), issuer=authority, algorithm=hashes.SHA1(), cert_status=ocsp.OCSPCertStatus.GOOD,
        this_update=now, next_update=now + datetime.timedelta(hours=1), revocation_time=None, revocation_reason=None)
    response = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, authority).sign(key, hashes.SHA256())
    Path("status.der").write_bytes(response.public_bytes(serialization.Encoding.DER))


# CAdES -------------------------------------------------------------------------------------------------------------
text = "Rezept: täglich Langlauf".encode()
for version, svc in signatures.items():
    answer = sign(smcb, request(text, CMS, IncludeEContent=True), svc, crypt=None if version == "7.4.0" else "ECC")
    assert cms_holds(signed_bytes(answer)) == text
    assert result(verify(signature=signed_bytes(answer), svc=svc)) == "VALID"
for crypt in ("RSA", "ECC", "RSA_ECC"):
    for card in (smcb, hba):
        enveloping = sign(card, request(text, CMS, IncludeEContent=True, revocation=True), crypt=crypt)
        assert warnings(enveloping) == [], warnings(enveloping)
        assert cms_holds(signed_bytes(enveloping)) == text
        detached = signed_bytes(sign(card, request(text), crypt=crypt))
        assert cms_holds(detached, text) == text
        checked = verify(signature=signed_bytes(enveloping), ReturnVerificationReport={
            "IncludeCertificateValues": True, "IncludeRevocationValues": True})
        assert result(checked) == "VALID" and checked.OptionalOutputs.VerificationReport is not None
        assert checked.VerificationResult.TimestampType == "SIGNATURE_EMBEDDED_TIMESTAMP"
        assert result(verify(document=text, signature=detached)) == "VALID"
        assert result(verify(document=text + b"!", signature=detached)) == "INVALID"
# one bit, with its code
broken = bytearray(detached)
broken[-1] ^= 1
checked = verify(document=text, signature=bytes(broken))
assert result(checked) == "INVALID" and warnings(checked)[-1] == 4115, warnings(checked)
# side by side, over each other, with the document inside and elsewhere
first = signed_bytes(sign(smcb, request(text, CMS, IncludeEContent=True)))
second = signed_bytes(sign(smcb, request(first, CMS, mime="", ReturnUpdatedSignature={"Type": PARALLEL}), crypt="RSA"))
third = signed_bytes(sign(smcb, request(second, CMS, mime="", ReturnUpdatedSignature={"Type": COUNTER})))
assert cms_holds(third) == text
shown = verify(signature=third, ReturnVerificationReport={"IncludeVerifier": False}).OptionalOutputs.VerificationReport
assert len(shown.IndividualReport) == 4
apart = signed_bytes(sign(smcb, request(text)))
apart = signed_bytes(sign(smcb, request(apart, CMS, mime="", ReturnUpdatedSignature={"Type": PARALLEL}), crypt="RSA"))
assert cms_holds(apart, text) == text
# an attribute of KIM, and one that would contradict ours
kim = bytes.fromhex("30 0F 06 08 2A 82 14 00 4C 04 81 2D 31 03 04 01 78")
ours = bytes.fromhex("30 10 06 09 2A 86 48 86 F7 0D 01 09 05 31 03 04 01 78")
properties = {"SignedProperties": {"Property": []}}
for attribute in (kim, ours):
    value = etree.fromstring(f"<CMSAttribute>{base64.b64encode(attribute).decode()}</CMSAttribute>")
    properties["SignedProperties"]["Property"].append({"Identifier": "RecipientEmailsAttribute", "Value": {"_value_1": [value]}})
answer = sign(smcb, request(text, CMS, IncludeEContent=True, Properties=properties))
assert warnings(answer) == [4273] and kim in signed_bytes(answer)
# revocation data put in afterwards
updated = verify(signature=first, revocation=True).OptionalOutputs.UpdatedSignature.SignatureObject.Base64Signature._value_1
assert len(updated) > len(first) and cms_holds(updated) == text

# XAdES -------------------------------------------------------------------------------------------------------------
xml = "<?xml version='1.0'?><r:rezept xmlns:r='urn:r'><r:mittel>1 &amp; ä</r:mittel></r:rezept>".encode()
for crypt in ("RSA", "ECC"):
    own_certificate(smcb, "C.SIG", crypt)
    enveloped = sign(smcb, request(xml, xml=True), crypt=crypt)
    assert warnings(enveloped) == [4193]
    assert enveloped.SignatureObject.SignaturePtr.XPath == "/*/child::*[1]"
    xml_holds(signed_bytes(enveloped), f"C.SIG.{crypt}.pem")
    judge.signxml_verify("signed.xml", f"C.SIG.{crypt}.pem", "2")
    assert result(verify(document=signed_bytes(enveloped), xml=True)) == "VALID"
    changed = signed_bytes(enveloped).replace(b"<r:mittel>1", b"<r:mittel>2")
    assert result(verify(document=changed, xml=True)) == "INVALID"
first = signed_bytes(sign(smcb, request(xml, xml=True, ReturnUpdatedSignature={"Type": PARALLEL})))
second = signed_bytes(sign(smcb, request(first, xml=True, ReturnUpdatedSignature={"Type": PARALLEL})))
third = signed_bytes(sign(smcb, request(second, xml=True, ReturnUpdatedSignature={"Type": COUNTER})))
xml_holds(third, "C.SIG.ECC.pem")
assert result(verify(document=third, xml=True)) == "VALID"
updated = verify(document=first, xml=True, revocation=True).OptionalOutputs.DocumentWithSignature.Base64XML
assert b"EncapsulatedOCSPValue" in updated
xml_holds(updated, "C.SIG.ECC.pem")
around = sign(smcb, request(xml, xml=True, IncludeObjects={"IncludeObject": [{"WhichDocument": "R1"}]}))
assert around.SignatureObject.Signature is not None
nfd = b"<n:NFD_Document xmlns:n='http://ws.gematik.de/fa/nfds/NFD_Document/v1.4'><n:Notfalldaten ID='N1'/><n:SignatureArzt/></n:NFD_Document>"
place = {"XPathFirstChildOf": "/*[local-name()='NFD_Document']/*[local-name()='SignatureArzt']", "CreateEnvelopedSignature": False}
policy = {"SignaturePolicyIdentifier": "urn:gematik:fa:sak:nfdm:r1:v1"}
emergency = sign(hba, request(nfd, XML, xml=True, RefURI="#N1", SignaturePlacement=place, GenerateUnderSignaturePolicy=policy, revocation=True))
assert warnings(emergency) == []
assert result(verify(document=signed_bytes(emergency), xml=True)) == "VALID"

# PAdES -------------------------------------------------------------------------------------------------------------
pdf = Path("document.pdf").read_bytes()
for crypt in ("RSA", "ECC"):
    for card, anchor, reference in ((smcb, "smcb-ca.pem", "C.SIG"), (hba, "qes-ca.pem", "C.QES")):
        answer = sign(card, request(pdf, PDF, mime="application/pdf-a"), crypt=crypt)
        Path("signed.pdf").write_bytes(signed_bytes(answer))
        own_certificate(card, reference, crypt)
        status_from_ca(f"{reference}.{crypt}.pem", anchor)
        judge.pyhanko_verify("signed.pdf", anchor, "status.der")
        assert result(verify(document=signed_bytes(answer), mime="application/pdf-a")) == "VALID"

# S/MIME ------------------------------------------------------------------------------------------------------------
mail = b"Subject: Befund\r\nContent-Type: text/plain\r\n\r\nAlles in der Spur\r\n"
Path("signed.eml").write_bytes(signed_bytes(sign(smcb, request(mail, SMIME, mime="message/rfc822"))))
read = openssl("cms", "-verify", "-in", "signed.eml", "-CAfile", "signers.pem", "-purpose", "any", "-partial_chain")
assert read.endswith(b"Alles in der Spur\r\n")
assert result(verify(document=Path("signed.eml").read_bytes(), mime="message/rfc822")) == "VALID"

# what others sign with a certificate of the TI -----------------------------------------------------------------------
Path("document").write_bytes(text)
openssl("cms", "-sign", "-binary", "-nodetach", "-cades", "-in", "document", "-signer", "office.crt", "-inkey", "office.key",
        "-outform", "DER", "-out", "theirs.p7")
assert result(verify(signature=Path("theirs.p7").read_bytes())) == "VALID"
Path("document.xml").write_bytes(xml)
judge.signxml_sign("document.xml", "theirs.xml", "office.key", "office.crt")
assert result(verify(document=Path("theirs.xml").read_bytes(), xml=True)) == "VALID"
judge.pyhanko_sign("document.pdf", "theirs.pdf", "office.key", "office.crt", "smcb-ca.pem")
assert result(verify(document=Path("theirs.pdf").read_bytes(), mime="application/pdf-a")) == "VALID"
# revoked, unknown to the TI, and before its time
openssl("cms", "-sign", "-binary", "-nodetach", "-in", "document", "-signer", "revoked.crt", "-inkey", "revoked.key", "-outform", "DER",
        "-out", "theirs.p7")
checked = verify(signature=Path("theirs.p7").read_bytes())
assert result(checked) == "INVALID" and warnings(checked) == [1047], warnings(checked)
openssl("cms", "-sign", "-binary", "-nodetach", "-in", "document", "-signer", "practice.crt", "-inkey", "practice.key", "-outform", "DER",
        "-out", "theirs.p7")
checked = verify(signature=Path("theirs.p7").read_bytes())
assert result(checked) == "INVALID", warnings(checked)
today = signed_bytes(sign(smcb, request(text, CMS, IncludeEContent=True)))
early = verify(signature=today, UseVerificationTime={"SpecificTime": "2001-01-01T00:00:00Z"})
assert result(early) == "INVALID" and early.VerificationResult.TimestampType == "USER_DEFINED_TIMESTAMP"

# published signatures: whole, but of a TI that this Konnektor does not know; with one bit changed they are broken
for name in ("erezept-2025-01-15/02_sign_avs_response.xml", "signature-service/SignDoc_CAdES_enveloping_KIM_nonQES_resp.xml"):
    text_of = re.search("Base64Signature[^>]*>([^<]+)<", (schemas.parent / "samples" / name).read_text()).group(1)
    published = base64.b64decode("".join(text_of.split()))
    checked = verify(signature=published)
    assert result(checked) == "INVALID" and not {4115, 4112} & set(warnings(checked)), warnings(checked)
    assert {1027, 1059} & set(warnings(checked)), warnings(checked)
    content = published.index(bytes.fromhex("2a864886f70d010701a0")) + 30
    for position in (content, content + 40):
        changed = published[:position] + bytes([published[position] ^ 1]) + published[position + 1 :]
        checked = verify(signature=changed)
        assert result(checked) == "INVALID" and 4115 in warnings(checked), (name, position, warnings(checked))

# ExternalAuthenticate ----------------------------------------------------------------------------------------------
for wsdl in ("conn/AuthSignatureService.wsdl", "conn/AuthSignatureService_v7_4_1.wsdl"):
    login = service(wsdl, "AuthSignatureService", "/ws/AuthSignatureService")
    for card, context in ((smcb, CONTEXT), (hba, USER)):
        elliptic = own_certificate(card, "C.AUT", "ECC").public_key()
        rsa = own_certificate(card, "C.AUT", "RSA").public_key()

        def authenticate(hash_value, **inputs):
            data = {"_value_1": hash_value, "MimeType": "application/octet-stream"}
            answer = call(login, "ExternalAuthenticate", CardHandle=card, Context=context, OptionalInputs=inputs,
                          BinaryString={"Base64Data": data})
            return answer.SignatureObject.Base64Signature._value_1

        challenge = hashlib.sha256(b"challenge").digest()
        value = authenticate(challenge, SignatureType="urn:bsi:tr:03111:ecdsa")
        elliptic.verify(value, challenge, ec.ECDSA(Prehashed(hashes.SHA256())))
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        rsa.verify(authenticate(challenge), challenge, pss, Prehashed(hashes.SHA256()))
        for name, algorithm in (("sha256", hashes.SHA256()), ("sha384", hashes.SHA384()), ("sha512", hashes.SHA512())):
            digest = hashlib.new(name, b"challenge").digest()
            value = authenticate(digest, SignatureType="urn:ietf:rfc:3447", SignatureSchemes="RSASSA-PKCS1-v1_5")
            rsa.verify(value, digest, padding.PKCS1v15(), Prehashed(algorithm))

# EncryptionService -------------------------------------------------------------------------------------------------
office = x509.load_pem_x509_certificate(Path("office-enc.crt").read_bytes())
office_der = office.public_bytes(serialization.Encoding.DER)
rsa_office_der = x509.load_pem_x509_certificate(Path("office-rsa.crt").read_bytes()).public_bytes(serialization.Encoding.DER)
for wsdl in ("conn/EncryptionService.wsdl", "conn/EncryptionService_v6_1_1.wsdl"):
    encryption = service(wsdl, "EncryptionService", "/ws/EncryptionService")
    modern = {} if wsdl == "conn/EncryptionService.wsdl" else {"Crypt": "RSA_ECC"}
    for card, context in ((smcb, CONTEXT), (hba, USER)):
        own = {"CardHandle": card, "KeyReference": "C.ENC", **modern}
        for document, is_xml in ((text, False), (xml, True)):
            content = {"Base64XML": document} if is_xml else {"Base64Data": document}
            sealed = call(encryption, "EncryptDocument", Context=context, RecipientKeys={
                "CertificateOnCard": own, "Certificate": [office_der, rsa_office_der]}, Document=content, OptionalInputs={})
            bytes_of = lambda answer: answer.Document.Base64XML or answer.Document.Base64Data._value_1
            inside = {"Base64XML": bytes_of(sealed)} if is_xml else {"Base64Data": bytes_of(sealed)}
            opened = call(encryption, "DecryptDocument", Context=context, PrivateKeyOnCard={"CardHandle": card}, Document=inside)
            assert bytes_of(opened) == document
            if not is_xml:
                Path("sealed.p7").write_bytes(bytes_of(sealed))
                for name in ("office-enc", "office-rsa"):
                    judge.cms_open("sealed.p7", "plain", f"{name}.key", f"{name}.crt")
                    assert Path("plain").read_bytes() == text
# what libxmlsec enciphers for the SMC-B is opened
own_certificate(smcb, "C.ENC", "RSA")
judge.xmlsec_encrypt("document.xml", "theirs.xml", "C.ENC.RSA.pem")
opened = call(encryption, "DecryptDocument", Context=CONTEXT, PrivateKeyOnCard={"CardHandle": smcb},
              Document={"Base64XML": Path("theirs.xml").read_bytes()})
assert b"1 &amp; " in opened.Document.Base64XML

# refusals ----------------------------------------------------------------------------------------------------------
def refuse(code, one, card=smcb, context=CONTEXT, **more):
    arguments = {"CardHandle": card, "Context": context, "TvMode": "NONE", "JobNumber": job(), "SignRequest": [one], **more}
    fault(code, newest, "SignDocument", **arguments)


refuse(4126, request(text), card=egk)
refuse(4003, request(text), card=hba)
refuse(4008, request(text), card="none")
refuse(4111, request(text, "urn:ietf:rfc:9999"))
refuse(4111, request(xml, XML, xml=True), card=hba, context=USER)
refuse(4111, request(xml, XML, xml=True, GenerateUnderSignaturePolicy={"SignaturePolicyIdentifier": "urn:none"}))
refuse(4111, request(text, CMS, ReturnUpdatedSignature={"Type": "urn:none"}))
refuse(4111, request(xml, XML, xml=True, IncludeEContent=True))
refuse(4110, request(b"\0", mime="application/octet-stream"), card=hba, context=USER)
refuse(4110, request(b"\0", CMS, ReturnUpdatedSignature={"Type": PARALLEL}))
refuse(4022, request(b"<a>", xml=True))
refuse(4024, request(b"GIF", mime="image/tiff"))
refuse(4281, request(b"<!DOCTYPE a><a/>", xml=True))
refuse(4103, request(xml, XML, xml=True, SignaturePlacement={"XPathFirstChildOf": "/*/none"}))
used = job()
sign_arguments = {"CardHandle": smcb, "Context": CONTEXT, "TvMode": "NONE", "SignRequest": [request(text)], "JobNumber": used}
call(newest, "SignDocument", **sign_arguments)
fault(4252, newest, "SignDocument", **sign_arguments)
fault(4243, newest, "StopSignature", Context=CONTEXT, JobNumber="QQQ-000")
fault(4253, newest, "VerifyDocument", Context=CONTEXT, IncludeRevocationInfo=False)
fault(4253, newest, "VerifyDocument", Context=CONTEXT, IncludeRevocationInfo=False, Document={"Base64XML": xml})
fault(4110, newest, "VerifyDocument", Context=CONTEXT, IncludeRevocationInfo=False,
      SignatureObject={"Base64Signature": {"_value_1": b"none", "Type": CMS}})
fault(4272, newest, "ActivateComfortSignature", CardHandle=hba, Context={**CONTEXT, "UserId": "spur"})
fault(4274, newest, "ActivateComfortSignature", CardHandle=smcb, Context=USER)
fault(4263, newest, "ActivateComfortSignature", CardHandle=hba, Context=USER)
mode = call(newest, "GetSignatureMode", CardHandle=hba, Context=USER)
assert mode.ComfortSignatureStatus == "DISABLED" and mode.ComfortSignatureMax == 100 and mode.SessionInfo is None
answer = call(newest, "DeactivateComfortSignature", CardHandle=[hba, "none"])
assert answer.Result == "Warning" and {trace.Code for trace in answer.Error.Trace} == {4265, 4266}
fault(4058, login, "ExternalAuthenticate", CardHandle=egk, Context=CONTEXT,
      BinaryString={"Base64Data": {"_value_1": challenge, "MimeType": "application/octet-stream"}})
fault(4000, login, "ExternalAuthenticate", CardHandle=smcb, Context=CONTEXT,
      BinaryString={"Base64Data": {"_value_1": b"short", "MimeType": "application/octet-stream"}})
fault(4111, login, "ExternalAuthenticate", CardHandle=smcb, Context=CONTEXT, OptionalInputs={"SignatureType": "urn:none"},
      BinaryString={"Base64Data": {"_value_1": challenge, "MimeType": "application/octet-stream"}})
fault(4058, encryption, "EncryptDocument", Context=CONTEXT, RecipientKeys={"CertificateOnCard": {"CardHandle": egk}},
      Document={"Base64Data": text})
fault(4105, encryption, "EncryptDocument", Context=CONTEXT, RecipientKeys={"Certificate": [b"none"]}, Document={"Base64Data": text})
revoked = x509.load_pem_x509_certificate(Path("revoked-enc.crt").read_bytes()).public_bytes(serialization.Encoding.DER)
fault(4105, encryption, "EncryptDocument", Context=CONTEXT, RecipientKeys={"Certificate": [revoked]}, Document={"Base64Data": text})
fault(4282, encryption, "EncryptDocument", Context=CONTEXT, RecipientKeys={"Certificate": [b"x"] * 1501}, Document={"Base64Data": text})
fault(4107, encryption, "DecryptDocument", Context=CONTEXT, PrivateKeyOnCard={"CardHandle": smcb}, Document={"Base64Data": b"none"})
fault(4103, encryption, "DecryptDocument", Context=CONTEXT, PrivateKeyOnCard={"CardHandle": smcb}, Document={"Base64XML": xml})
alone = call(encryption, "EncryptDocument", Context=CONTEXT, RecipientKeys={"Certificate": [office_der]}, Document={"Base64Data": text})
fault(4106, encryption, "DecryptDocument", Context=CONTEXT, PrivateKeyOnCard={"CardHandle": smcb},
      Document={"Base64Data": alone.Document.Base64Data._value_1})

assert {"SignDocument", "VerifyDocument", "GetJobNumber", "ExternalAuthenticate", "EncryptDocument", "DecryptDocument",
        "GetSignatureMode", "DeactivateComfortSignature"} <= done
report()
