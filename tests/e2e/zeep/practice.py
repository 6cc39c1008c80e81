"""An unchanged practice system performs every operation; exit code 0 is success."""
import base64
import gzip
import socket
import ssl
import struct
import threading
import time

from common import *  # noqa: F403 the shared half of this script

# EventService -----------------------------------------------------------------------------------------------------
events = service("conn/EventService.wsdl", "EventService", "/ws/EventService")
terminals = call(events, "GetCardTerminals", Context=CONTEXT)
assert terminals.CardTerminals.CardTerminal[0].Connected is True
cards = call(events, "GetCards", Context=CONTEXT).Cards.Card
handles = {card.CardType: card.CardHandle for card in cards}
assert set(handles) == {"EGK", "HBA", "SMC-B", "SMC-KT"}, handles
egk, hba, smcb = handles["EGK"], handles["HBA"], handles["SMC-B"]
assert next(card for card in cards if card.CardType == "EGK").Kvnr == "X110411675"
assert len(call(events, "GetCards", Context=CONTEXT, CardType="HBAx").Cards.Card) == 1
assert len(call(events, "GetCards", Context=CONTEXT, CtId="KT1", SlotId=1).Cards.Card) == 1
resource = call(events, "GetResourceInformation", Context=CONTEXT)
assert resource.Connector.VPNTIStatus.ConnectionStatus == "Online"
assert call(events, "GetResourceInformation", Context=CONTEXT, CardHandle=egk).Card.CardType == "EGK"
assert call(events, "GetResourceInformation", Context=CONTEXT, CtId="KT1").CardTerminal.Slots == 4
fault(4007, events, "GetCards", Context=CONTEXT, CtId="KT9")
fault(4097, events, "GetCards", Context=CONTEXT, CtId="KT1", SlotId=9)
fault(4021, events, "GetCards", Context={**CONTEXT, "MandantId": "Fremd"})
fault(4021, events, "GetCards", Context={**CONTEXT, "WorkplaceId": "Fremd"})
fault(4101, events, "GetResourceInformation", Context=CONTEXT, CardHandle="none")
fault(4099, events, "GetResourceInformation", Context=CONTEXT, Iccsn="8" * 20)
fault(4102, events, "Unsubscribe", Context=CONTEXT, SubscriptionID="none")

# CETP: the Konnektor connects to us with TLS and tells
sink = socket.create_server(("127.0.0.1", 0))
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(folder / "practice.crt", folder / "practice.key")
received = []


def listen():
    while True:
        raw, _ = sink.accept()
        try:
            with tls.wrap_socket(raw, server_side=True) as stream:
                data = b""
                while chunk := stream.recv(65536):
                    data += chunk
        except OSError:
            continue
        assert data[:4] == b"CETP" and struct.unpack(">I", data[4:8])[0] == len(data) - 8
        event = etree.fromstring(data[8:])
        etree.XMLSchema(file=str(schemas / XSD["EventService"])).assertValid(event)
        received.append(event.findtext("{*}Topic"))


threading.Thread(target=listen, daemon=True).start()
target = f"cetp://127.0.0.1:{sink.getsockname()[1]}"
made = call(events, "Subscribe", Context=CONTEXT, Subscription={"EventTo": target, "Topic": "CARD"})
again = call(events, "Subscribe", Context=CONTEXT, Subscription={"EventTo": target, "Topic": "CARD"})
assert made.SubscriptionID == again.SubscriptionID
renewed = call(events, "RenewSubscriptions", Context=CONTEXT, SubscriptionID=[made.SubscriptionID, "none"])
assert renewed.Status.Result == "Warning" and len(renewed.SubscribeRenewals.SubscriptionRenewal) == 1
assert len(call(events, "GetSubscription", Context=CONTEXT).Subscriptions.Subscription) == 1

# CardService, all versions ------------------------------------------------------------------------------------------
for wsdl in ("conn/CardService.wsdl", "conn/CardService_v8_1_1.wsdl", "conn/CardService_v8_1_2.wsdl"):
    card_service = service(wsdl, "CardService", "/service/CardService")
    assert call(card_service, "GetPinStatus", Context=CONTEXT, CardHandle=smcb, PinTyp="PIN.SMC").PinStatus == "VERIFIABLE"
answer = pin(card_service, "VerifyPin", smcb, "PIN.SMC", "999999")
assert (answer.PinResult, answer.LeftTries) == ("REJECTED", 2), answer
assert pin(card_service, "VerifyPin", smcb, "PIN.SMC", "123456").PinResult == "OK"
assert call(card_service, "VerifyPin", Context=CONTEXT, CardHandle=smcb, PinTyp="PIN.SMC").PinResult == "OK"
assert call(card_service, "GetPinStatus", Context=CONTEXT, CardHandle=smcb, PinTyp="PIN.SMC").PinStatus == "VERIFIED"
assert pin(card_service, "ChangePin", egk, "PIN.CH", "123456", "654321", "654321").PinResult == "OK"
assert pin(card_service, "ChangePin", egk, "PIN.CH", "654321", "123456", "123456").PinResult == "OK"
assert call(card_service, "GetPinStatus", Context=CONTEXT, CardHandle=egk, PinTyp="MRPIN.NFD").PinStatus == "DISABLED"
assert pin(card_service, "EnablePin", egk, "MRPIN.NFD", "123456").PinResult == "OK"
assert call(card_service, "GetPinStatus", Context=CONTEXT, CardHandle=egk, PinTyp="MRPIN.NFD").PinStatus == "VERIFIABLE"
assert pin(card_service, "DisablePin", egk, "MRPIN.NFD", "123456").PinResult == "OK"
user = {**CONTEXT, "UserId": "spur"}
for expected in ("REJECTED", "REJECTED", "NOWBLOCKED"):
    thread = typing("000000")
    assert card_service.VerifyPin(Context=user, CardHandle=hba, PinTyp="PIN.CH").PinResult == expected
    thread.join()
assert card_service.VerifyPin(Context=user, CardHandle=hba, PinTyp="PIN.CH").PinResult == "WASBLOCKED"
thread = typing("12345678", "123456", "123456")
assert call(card_service, "UnblockPin", Context=user, CardHandle=hba, PinTyp="PIN.CH", SetNewPin=True).PinResult == "OK"
thread.join()
fault(4003, card_service, "VerifyPin", Context=CONTEXT, CardHandle=hba, PinTyp="PIN.CH")
fault(4072, card_service, "GetPinStatus", Context=CONTEXT, CardHandle=smcb, PinTyp="PIN.X")
fault(4209, card_service, "VerifyPin", Context=CONTEXT, CardHandle=egk, PinTyp="PIN.CH")
fault(4008, card_service, "VerifyPin", Context=CONTEXT, CardHandle="none", PinTyp="PIN.SMC")
thread = typing("cancel")
fault(4049, card_service, "ChangePin", Context=CONTEXT, CardHandle=egk, PinTyp="PIN.CH")
thread.join()
thread = typing("123456", "111111", "222222")
fault(4067, card_service, "ChangePin", Context=CONTEXT, CardHandle=egk, PinTyp="PIN.CH")
thread.join()

# CertificateService, all versions -----------------------------------------------------------------------------------
for wsdl in ("conn/CertificateService.wsdl", "conn/CertificateService_v6_0_1.wsdl", "conn/CertificateService_v6_0_3.wsdl"):
    certificates = service(wsdl, "CertificateService", "/webservices/certificateservice")
    refs = {"CertRef": ["C.AUT", "C.ENC", "C.SIG"]}
    modern = {} if wsdl == "conn/CertificateService.wsdl" else {"Crypt": "ECC"}
    answer = call(certificates, "ReadCardCertificate", CardHandle=smcb, Context=CONTEXT, CertRefList=refs, **modern)
    assert len(answer.X509DataInfoList.X509DataInfo) == 3
aut = answer.X509DataInfoList.X509DataInfo[0].X509Data.X509Certificate
verified = call(certificates, "VerifyCertificate", Context=CONTEXT, X509Certificate=aut)
assert verified.VerificationStatus.VerificationResult == "VALID", verified
assert verified.RoleList.Role == ["1.2.276.0.76.4.50"]
own = ssl.PEM_cert_to_DER_cert((folder / "practice.crt").read_text())
foreign = call(certificates, "VerifyCertificate", Context=CONTEXT, X509Certificate=own)
assert foreign.VerificationStatus.VerificationResult == "INVALID"
expiry = call(certificates, "CheckCertificateExpiration", Context=CONTEXT, Crypt="ECC").CertificateExpiration
assert any(not entry.CtID and not entry.CardHandle for entry in expiry), expiry
assert any(entry.CardHandle == smcb for entry in expiry)
qes = call(certificates, "ReadCardCertificate", CardHandle=hba, Context=CONTEXT, CertRefList={"CertRef": ["C.QES"]}, Crypt="ECC")
assert qes.X509DataInfoList.X509DataInfo[0].X509Data
fault(4090, certificates, "ReadCardCertificate", CardHandle=egk, Context=CONTEXT, CertRefList={"CertRef": ["C.AUT"]})
fault(4149, certificates, "ReadCardCertificate", CardHandle=smcb, Context=CONTEXT, CertRefList={"CertRef": ["C.QES"]})
fault(4148, certificates, "VerifyCertificate", Context=CONTEXT, X509Certificate=b"no certificate")

# VSDService ---------------------------------------------------------------------------------------------------------
vsd = service("conn/vsds/VSDService.wsdl", "VSDService", "/ws/VSDService")
content = etree.XMLSchema(file=str(schemas / "fa/vsds/Schema_VSD.xsd"))
receipts = etree.XMLSchema(file=str(schemas / "fa/vsds/Pruefungsnachweis.xsd"))


def read(online, receipt, source=smcb, context=CONTEXT):
    data = call(vsd, "ReadVSD", EhcHandle=egk, HpcHandle=source, PerformOnlineCheck=online, ReadOnlineReceipt=receipt, Context=context)
    for name in ("PersoenlicheVersichertendaten", "AllgemeineVersicherungsdaten", "GeschuetzteVersichertendaten"):
        content.assertValid(etree.fromstring(gzip.decompress(data[name])))
    proof = None
    if data.Pruefungsnachweis:
        proof = etree.fromstring(gzip.decompress(data.Pruefungsnachweis))
        receipts.assertValid(proof)
    return data, proof


fault(3040, vsd, "ReadVSD", EhcHandle=egk, HpcHandle=smcb, PerformOnlineCheck=False, ReadOnlineReceipt=True, Context=CONTEXT)
_, proof = read(False, False)
assert proof is None
_, proof = read(True, True)
assert proof.findtext("{*}E") == "2" and len(base64.b64decode(proof.findtext("{*}PZ"))) == 47
_, stored = read(False, True)
assert etree.tostring(stored) == etree.tostring(proof)
fault(3042, vsd, "ReadVSD", EhcHandle=egk, HpcHandle=hba, PerformOnlineCheck=False, ReadOnlineReceipt=False, Context=user)
fault(4051, vsd, "ReadVSD", EhcHandle=smcb, HpcHandle=smcb, PerformOnlineCheck=False, ReadOnlineReceipt=False, Context=CONTEXT)
thread = typing("123456")
assert card_service.VerifyPin(Context=user, CardHandle=hba, PinTyp="PIN.CH").PinResult == "OK"
thread.join()
read(False, False, source=hba, context=user)

# KvkService ---------------------------------------------------------------------------------------------------------
kvk = service("conn/vsds/KvkService.wsdl", "KvkService", "/ws/KVKService")
fault(3020, kvk, "ReadKVK", KVKHandle=egk, Context=CONTEXT)
done.add("ReadKVK")

# CardTerminalService ------------------------------------------------------------------------------------------------
ct = service("conn/CardTerminalService.wsdl", "CardTerminalService", "/ws/CardTerminalService")
slot = {"CtId": "KT1", "SlotId": 1}
assert call(ct, "RequestCard", Context=CONTEXT, Slot=slot, CardType="EGK").AlreadyInserted is True
fault(4051, ct, "RequestCard", Context=CONTEXT, Slot=slot, CardType="HBAx")
fault(4203, ct, "EjectCard", Context=CONTEXT, CardHandle=egk, TimeOut=1000)
threading.Timer(0.5, lambda: act({"remove": {"slot": 1}})).start()
call(ct, "EjectCard", Context=CONTEXT, Slot=slot, TimeOut=10000)
fault(4202, ct, "RequestCard", Context=CONTEXT, Slot=slot, CardType="EGK", TimeOut=1)
threading.Timer(0.5, lambda: act({"insert": {"slot": 1, "card": "eGK Loipengrün"}})).start()
asked = call(ct, "RequestCard", Context=CONTEXT, Slot=slot, CardType="EGK", TimeOut=10)
assert asked.Card.CardType == "EGK" and asked.Card.CardHandle != egk
fault(4008, vsd, "ReadVSD", EhcHandle=egk, HpcHandle=smcb, PerformOnlineCheck=False, ReadOnlineReceipt=False, Context=CONTEXT)

for _ in range(250):
    if "CARD/REMOVED" in received and "CARD/INSERTED" in received and "CARD/PIN/VERIFY_FINISHED" in received:
        break
    time.sleep(0.02)
assert {"CARD/REMOVED", "CARD/INSERTED", "CARD/PIN/VERIFY_STARTED", "CARD/PIN/VERIFY_FINISHED"} <= set(received), received
call(events, "Unsubscribe", Context=CONTEXT, SubscriptionID=made.SubscriptionID)
print(f"{len(done)} operations: {', '.join(sorted(done))}")
assert len(done) == 20, len(done)
report()
