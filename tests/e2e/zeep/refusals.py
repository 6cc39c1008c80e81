"""Every operation is refused for every reason that can be brought about from outside: wrong contexts, rights that the
information model does not give, cards and terminals that are elsewhere, messages that break their schema."""
import contextlib
import copy
import threading
import time

from common import *  # noqa: F403 the shared half of this script

SMC_B = "80276009990000000002"
administration = requests.Session()
administration.auth = ("admin", (folder / "admin-password.txt").read_text().strip())
administration.verify = session.verify
administration.trust_env = False


def admin(method, path, **arguments):
    answer = administration.request(method, f"https://{addresses['admin']}/api/v1/{path}", timeout=30, **arguments)
    assert answer.ok, answer.text
    return answer.json() if answer.text else None


ORIGINAL = admin("GET", "model")


@contextlib.contextmanager
def model(change):
    """For a while the information model is another one."""
    other = copy.deepcopy(ORIGINAL)
    change(other)
    admin("PUT", "model", json=other)
    try:
        yield
    finally:
        admin("PUT", "model", json=ORIGINAL)


events = service("conn/EventService.wsdl", "EventService", "/ws/EventService")
card_service = service("conn/CardService_v8_1_2.wsdl", "CardService", "/service/CardService")
certificates = service("conn/CertificateService_v6_0_3.wsdl", "CertificateService", "/webservices/certificateservice")
vsd = service("conn/vsds/VSDService.wsdl", "VSDService", "/ws/VSDService")
kvk = service("conn/vsds/KvkService.wsdl", "KvkService", "/ws/KVKService")
ct = service("conn/CardTerminalService.wsdl", "CardTerminalService", "/ws/CardTerminalService")
signing = service("conn/SignatureService_V7_5_7.wsdl", "SignatureService 7.5", "/ws/SignatureService")
login = service("conn/AuthSignatureService_v7_4_1.wsdl", "AuthSignatureService", "/ws/AuthSignatureService")
encryption = service("conn/EncryptionService_v6_1_1.wsdl", "EncryptionService", "/ws/EncryptionService")


def inserted():
    return {card.CardType: card.CardHandle for card in events.GetCards(Context=CONTEXT).Cards.Card}


handles = inserted()
egk, hba, smcb = handles["EGK"], handles["HBA"], handles["SMC-B"]
der = certificates.ReadCardCertificate(CardHandle=smcb, Context=CONTEXT, CertRefList={"CertRef": ["C.AUT"]}, Crypt="ECC")
der = der.X509DataInfoList.X509DataInfo[0].X509Data.X509Certificate
SUBSCRIPTION = {"EventTo": "cetp://127.0.0.1:1", "Topic": "CARD"}
SLOT = {"CtId": "KT1", "SlotId": 1}
USER = {**CONTEXT, "UserId": "spur"}

BYTES = {"Base64Data": {"_value_1": b"text", "MimeType": "text/plain"}}
SIGN = {
    "TvMode": "NONE",
    "JobNumber": "AAA-000",
    "SignRequest": [{
        "RequestID": "R1",
        "OptionalInputs": {},
        "Document": {"ID": "R1", "ShortText": "Text", **BYTES},
        "IncludeRevocationInfo": False,
    }],
}

# every operation with arguments it would accept
GENERAL = {
    "GetCards": (events, {}),
    "GetCardTerminals": (events, {}),
    "GetResourceInformation": (events, {}),
    "Subscribe": (events, {"Subscription": SUBSCRIPTION}),
    "Unsubscribe": (events, {"SubscriptionID": "1"}),
    "RenewSubscriptions": (events, {"SubscriptionID": ["1"]}),
    "GetSubscription": (events, {}),
    "CheckCertificateExpiration": (certificates, {}),
    "VerifyCertificate": (certificates, {"X509Certificate": der}),
    "GetJobNumber": (signing, {}),
    "StopSignature": (signing, {"JobNumber": "AAA-000"}),
    "VerifyDocument": (signing, {"SignatureObject": {"Base64Signature": {"_value_1": b"none", "Type": "urn:ietf:rfc:5652"}},
                                 "IncludeRevocationInfo": False}),
    "EncryptDocument": (encryption, {"RecipientKeys": {"Certificate": [der]}, "Document": {"Base64Data": b"text"}}),
}
PINS = ("VerifyPin", "ChangePin", "GetPinStatus", "UnblockPin", "EnablePin", "DisablePin")
ON_SMB = {name: (card_service, {"PinTyp": "PIN.SMC"}) for name in PINS}
ON_SMB["ReadCardCertificate"] = (certificates, {"CertRefList": {"CertRef": ["C.AUT"]}, "Crypt": "ECC"})
ON_SMB["CheckCertificateExpiration"] = (certificates, {"Crypt": "ECC"})
ON_SMB["SignDocument"] = (signing, SIGN)
ON_SMB["ExternalAuthenticate"] = (login, {"BinaryString": {
    "Base64Data": {"_value_1": bytes(32), "MimeType": "application/octet-stream"}}})
DECRYPT = {"PrivateKeyOnCard": {"CardHandle": smcb}, "Document": {"Base64Data": b"text"}}
ON_TERMINAL = {
    "RequestCard": (ct, {"Slot": SLOT, "TimeOut": 1}),
    "EjectCard": (ct, {"Slot": SLOT, "TimeOut": 1000}),
    "GetCards": (events, {"CtId": "KT1"}),
    "GetResourceInformation": (events, {"CtId": "KT1"}),
}
READ = {"EhcHandle": egk, "HpcHandle": smcb, "PerformOnlineCheck": False, "ReadOnlineReceipt": False}


def every(code, operations, context=CONTEXT, **more):
    for name, (svc, arguments) in operations.items():
        fault(code, svc, name, Context=context, **{**arguments, **more})


everything = {
    **GENERAL,
    **{name: (svc, {**arguments, "CardHandle": smcb}) for name, (svc, arguments) in ON_SMB.items()},
    **ON_TERMINAL,
    "ReadVSD": (vsd, READ),
    "ReadKVK": (kvk, {"KVKHandle": egk}),
    "DecryptDocument": (encryption, DECRYPT),
    "ActivateComfortSignature": (signing, {"CardHandle": hba}),
    "GetSignatureMode": (signing, {"CardHandle": hba}),
}

# who calls: TUC_KON_000 ----------------------------------------------------------------------------------------------
WHO = {**CONTEXT, "UserId": "8a4b1c7e-0f6d-4c1e-9a53-5d2f1b7c9e10"}
for part in ("MandantId", "ClientSystemId", "WorkplaceId"):
    every(4021, everything, {**WHO, part: "Fremd"})
with model(lambda m: m["client_systems"].append({"id": "Anderes", "certificates": [], "users": []})):
    every(4204, everything, {**WHO, "ClientSystemId": "Anderes"})
with model(lambda m: m["mandants"].append({"id": "Zweite", "terminals": ["KT1"], "smb": [], "access": [], "remote_pin": []})):
    every(4010, everything, {**WHO, "MandantId": "Zweite"})
own = ORIGINAL["client_systems"][0]["certificates"]


def second_client(m):
    """A second client system of the same practice, with a workplace of its own."""
    m["client_systems"].append({"id": "Zweites", "certificates": own, "users": []})
    m["workplaces"].append({"id": "Labor", "local_terminals": ["KT1"], "remote_terminals": []})
    m["workplaces"].append({"id": "Keller", "local_terminals": ["KT1"], "remote_terminals": []})
    m["mandants"][0]["access"].append({"client_system": "Zweites", "workplace": "Labor"})


with model(second_client):
    every(4011, everything, {**WHO, "WorkplaceId": "Keller"})
    every(4014, everything, {**WHO, "WorkplaceId": "Labor"})

# cards and terminals: whose they are -----------------------------------------------------------------------------------
on_smb = {name: (svc, {**arguments, "CardHandle": smcb}) for name, (svc, arguments) in ON_SMB.items()}
with model(lambda m: m["mandants"][0].update(smb=[])):
    every(4009, on_smb)
    fault(4009, vsd, "ReadVSD", Context=CONTEXT, **READ)
    fault(4009, encryption, "DecryptDocument", Context=CONTEXT, **DECRYPT)


def other_smb(m):
    m["mandants"][0].update(smb=[])
    m["mandants"].append({"id": "Zweite", "terminals": ["KT1"], "smb": [SMC_B], "access": [], "remote_pin": []})


with model(other_smb):
    every(4013, on_smb)
    fault(4013, vsd, "ReadVSD", Context=CONTEXT, **READ)
    fault(4013, encryption, "DecryptDocument", Context=CONTEXT, **DECRYPT)
with model(lambda m: m["mandants"][0].update(terminals=[])):
    every(4012, ON_TERMINAL)
    fault(4012, vsd, "ReadVSD", Context=CONTEXT, **READ)
with model(lambda m: m["workplaces"][0].update(local_terminals=[], remote_terminals=[])):
    every(4015, ON_TERMINAL)
    fault(4016, vsd, "ReadVSD", Context=CONTEXT, **READ)
    fault(4020, events, "GetCards", Context=CONTEXT, CtId="KT1", **{"mandant-wide": True})
with model(lambda m: m["workplaces"][0].update(local_terminals=[], remote_terminals=["KT1"])):
    fault(4016, vsd, "ReadVSD", Context=CONTEXT, **READ)
    fault(4016, card_service, "GetPinStatus", Context=CONTEXT, CardHandle=egk, PinTyp="PIN.CH")
    # an HBA or SM-B elsewhere needs a terminal where its PIN is typed
    fault(4092, card_service, "VerifyPin", Context=CONTEXT, CardHandle=smcb, PinTyp="PIN.SMC")
for name in PINS:
    fault(4008, card_service, name, Context=CONTEXT, CardHandle="none", PinTyp="PIN.SMC")
NO_CARD = {"CardHandle": "none"}
fault(4008, signing, "SignDocument", Context=CONTEXT, **{**SIGN, **NO_CARD})
fault(4008, login, "ExternalAuthenticate", Context=CONTEXT, **ON_SMB["ExternalAuthenticate"][1], **NO_CARD)
fault(4008, encryption, "DecryptDocument", Context=CONTEXT, **{**DECRYPT, "PrivateKeyOnCard": NO_CARD})
for name in ("ActivateComfortSignature", "GetSignatureMode"):
    fault(4008, signing, name, Context=WHO, **NO_CARD)
# the SMC-B is not open yet
fault(4085, signing, "SignDocument", Context=CONTEXT, CardHandle=smcb, **SIGN)
fault(4085, login, "ExternalAuthenticate", Context=CONTEXT, CardHandle=smcb, **ON_SMB["ExternalAuthenticate"][1])
fault(4101, events, "GetResourceInformation", Context=CONTEXT, CardHandle="none")
fault(4101, ct, "EjectCard", Context=CONTEXT, CardHandle="none")
fault(4008, certificates, "ReadCardCertificate", Context=CONTEXT, CardHandle="none", CertRefList={"CertRef": ["C.AUT"]})
fault(4008, certificates, "CheckCertificateExpiration", Context=CONTEXT, CardHandle="none")
for part in ("EhcHandle", "HpcHandle"):
    fault(4008, vsd, "ReadVSD", Context=CONTEXT, **{**READ, part: "none"})
fault(4007, ct, "RequestCard", Context=CONTEXT, Slot={"CtId": "KT9", "SlotId": 1})
fault(4007, ct, "EjectCard", Context=CONTEXT, Slot={"CtId": "KT9", "SlotId": 1})
fault(4007, events, "GetResourceInformation", Context=CONTEXT, CtId="KT9")
fault(4097, ct, "RequestCard", Context=CONTEXT, Slot={"CtId": "KT1", "SlotId": 9})
fault(4097, ct, "EjectCard", Context=CONTEXT, Slot={"CtId": "KT1", "SlotId": 9})
fault(4058, certificates, "CheckCertificateExpiration", Context=CONTEXT, CardHandle=egk)

# HBA: a user each, and one of them at a time ----------------------------------------------------------------------------
for name in PINS:
    fault(4003, card_service, name, Context=CONTEXT, CardHandle=hba, PinTyp="PIN.CH")
fault(4003, vsd, "ReadVSD", Context=CONTEXT, **{**READ, "HpcHandle": hba})
thread = typing("123456")
assert card_service.VerifyPin(Context=USER, CardHandle=hba, PinTyp="PIN.CH").PinResult == "OK"
thread.join()
fault(4018, card_service, "VerifyPin", Context={**CONTEXT, "UserId": "andere"}, CardHandle=hba, PinTyp="PIN.CH")
fault(4018, vsd, "ReadVSD", Context={**CONTEXT, "UserId": "andere"}, **{**READ, "HpcHandle": hba})

# eGK: at one workplace at a time -----------------------------------------------------------------------------------------
fault(3041, vsd, "ReadVSD", Context=CONTEXT, **READ)
thread = typing("cancel")
fault(4049, card_service, "VerifyPin", Context=CONTEXT, CardHandle=smcb, PinTyp="PIN.SMC")
thread.join()
thread = typing("123456")
assert card_service.VerifyPin(Context=CONTEXT, CardHandle=smcb, PinTyp="PIN.SMC").PinResult == "OK"
thread.join()
assert vsd.ReadVSD(Context=CONTEXT, **READ)


def neighbour(m):
    m["workplaces"].append({"id": "Labor", "local_terminals": ["KT1"], "remote_terminals": []})
    m["mandants"][0]["access"].append({"client_system": "PVS", "workplace": "Labor"})


with model(neighbour):
    fault(4017, vsd, "ReadVSD", Context={**CONTEXT, "WorkplaceId": "Labor"}, **READ)

# PINs -----------------------------------------------------------------------------------------------------------------
for name in PINS:
    fault(4072, card_service, name, Context=CONTEXT, CardHandle=egk if name in ("EnablePin", "DisablePin") else smcb, PinTyp="PIN.X")
for name in ("EnablePin", "DisablePin"):
    fault(4209, card_service, name, Context=CONTEXT, CardHandle=smcb, PinTyp="PIN.SMC")
fault(4209, card_service, "VerifyPin", Context=CONTEXT, CardHandle=egk, PinTyp="PIN.CH")
for name, context, card, kind in (
    ("ChangePin", USER, hba, {"PinTyp": "PIN.CH"}),
    ("UnblockPin", USER, hba, {"PinTyp": "PIN.CH", "SetNewPin": False}),
):
    thread = typing("cancel")
    fault(4049, card_service, name, Context=context, CardHandle=card, **kind)
    thread.join()
for name in ("EnablePin", "DisablePin"):
    thread = typing("cancel")
    fault(4049, card_service, name, Context=CONTEXT, CardHandle=egk, PinTyp="MRPIN.NFD")
    thread.join()
thread = typing("123456", "111111", "222222")
fault(4067, card_service, "ChangePin", Context=CONTEXT, CardHandle=egk, PinTyp="PIN.CH")
thread.join()

# somebody else is at the terminal, or at the card
def hold():
    with contextlib.suppress(zeep.exceptions.Fault):
        card_service.ChangePin(Context=CONTEXT, CardHandle=egk, PinTyp="PIN.CH")


held = threading.Thread(target=hold)
held.start()
for _ in range(250):
    if requests.get(PAGE + "/state", timeout=5).json()["waiting_for"]:
        break
    time.sleep(0.02)
fault(4060, card_service, "ChangePin", Context=CONTEXT, CardHandle=smcb, PinTyp="PIN.SMC")
for name in ("GetPinStatus", "EnablePin"):
    fault(4093 if name == "GetPinStatus" else 4060, card_service, name, Context=CONTEXT, CardHandle=egk, PinTyp="MRPIN.NFD")
fault(4093, vsd, "ReadVSD", Context=CONTEXT, **READ)
fault(4093, ct, "EjectCard", Context=CONTEXT, CardHandle=egk, TimeOut=1000)
act("cancel")
held.join()

# certificates ---------------------------------------------------------------------------------------------------------
fault(4090, certificates, "ReadCardCertificate", CardHandle=egk, Context=CONTEXT, CertRefList={"CertRef": ["C.AUT"]})
for card, wrong, context in ((smcb, "C.QES", CONTEXT), (hba, "C.SIG", USER)):
    fault(4149, certificates, "ReadCardCertificate", CardHandle=card, Context=context, CertRefList={"CertRef": [wrong]})
fault(4148, certificates, "VerifyCertificate", Context=CONTEXT, X509Certificate=b"no certificate")
fault(4209, certificates, "ReadCardCertificate", CardHandle=handles["SMC-KT"], Context=CONTEXT, CertRefList={"CertRef": ["C.AUT"]})

# an HBA in a terminal that is not for this workplace, or not for this practice
fault(4099, events, "GetResourceInformation", Context=CONTEXT, Iccsn="8" * 20)
with model(lambda m: m["workplaces"][0].update(local_terminals=[], remote_terminals=[])):
    for name in PINS[:4]:
        fault(4015, card_service, name, Context=USER, CardHandle=hba, PinTyp="PIN.CH")
with model(lambda m: m["mandants"][0].update(terminals=[])):
    for name in PINS[:4]:
        fault(4012, card_service, name, Context=USER, CardHandle=hba, PinTyp="PIN.CH")

# a card that says nothing, or nothing sensible ---------------------------------------------------------------------------
act({"fault": {"kind": "card_silence"}})
fault(4094, vsd, "ReadVSD", Context=CONTEXT, **READ)
act({"fault": {"kind": None}})

# subscriptions --------------------------------------------------------------------------------------------------------
for name in ("Unsubscribe", "GetSubscription"):
    fault(4102, events, name, Context=CONTEXT, SubscriptionID="none")
fault(4095, events, "Subscribe", Context=CONTEXT, Subscription={**SUBSCRIPTION, "Filter": "//["})

# ReadVSD: the wrong cards ----------------------------------------------------------------------------------------------
fault(4051, vsd, "ReadVSD", Context=CONTEXT, **{**READ, "EhcHandle": smcb})
fault(4051, vsd, "ReadVSD", Context=CONTEXT, **{**READ, "HpcHandle": egk})
fault(3040, vsd, "ReadVSD", Context=CONTEXT, **{**READ, "ReadOnlineReceipt": True})
fault(3020, kvk, "ReadKVK", KVKHandle=egk, Context=CONTEXT)

# the card leaves: the eGK session ends, and SMC-B and HBA are closed after they come back ------------------------------------
act({"remove": {"slot": 1}})
for _ in range(500):
    if "EGK" not in inserted():
        break
    time.sleep(0.02)
fault(4098, events, "GetResourceInformation", Context=CONTEXT, CtId="KT1", SlotId=1)
fault(4202, ct, "RequestCard", Context=CONTEXT, Slot=SLOT, CardType="EGK", TimeOut=1)
fault(4008, vsd, "ReadVSD", Context=CONTEXT, **READ)
act({"insert": {"slot": 1, "card": "eGK Loipengrün"}})
for _ in range(500):
    if "EGK" in inserted():
        break
    time.sleep(0.02)
egk = READ["EhcHandle"] = inserted()["EGK"]
fault(4203, ct, "EjectCard", Context=CONTEXT, CardHandle=egk, TimeOut=1000)
act({"remove": {"slot": 3}})
for _ in range(500):
    if "SMC-B" not in inserted():
        break
    time.sleep(0.02)
act({"insert": {"slot": 3, "card": "SMC-B Praxis"}})
for _ in range(500):
    if "SMC-B" in inserted():
        break
    time.sleep(0.02)
smcb = inserted()["SMC-B"]
# what was read once is known; of this card nothing was yet
for kind, code in (("card_silence", 4094), ("card_garbage", 4044)):
    act({"fault": {"kind": kind}})
    fault(code, certificates, "ReadCardCertificate", CardHandle=smcb, Context=CONTEXT, CertRefList={"CertRef": ["C.ENC"]})
act({"fault": {"kind": None}})
READ["HpcHandle"] = smcb
fault(3041, vsd, "ReadVSD", Context=CONTEXT, **READ)

# a terminal that does not answer ----------------------------------------------------------------------------------------
act({"network": {"up": False}})
for _ in range(1500):
    if events.GetCardTerminals(Context=CONTEXT).CardTerminals.CardTerminal[0].Connected is False:
        break
    time.sleep(0.02)
every(4222, {name: ON_TERMINAL[name] for name in ("RequestCard", "EjectCard")})
act({"network": {"up": True}})
for _ in range(1500):
    if events.GetCardTerminals(Context=CONTEXT).CardTerminals.CardTerminal[0].Connected is True:
        break
    time.sleep(0.02)
admin("PUT", "terminals/KT1/correlation", json={"correlation": "gepairt"})
every(4221, {name: ON_TERMINAL[name] for name in ("RequestCard", "EjectCard")})
admin("PUT", "terminals/KT1/correlation", json={"correlation": "aktiv"})

# messages that break their schema: a part is missing -----------------------------------------------------------------------
PATHS = {
    events: ("/ws/EventService", "http://ws.gematik.de/conn/EventService/v7.2"),
    card_service: ("/service/CardService", "http://ws.gematik.de/conn/CardService/v8.1"),
    certificates: ("/webservices/certificateservice", "http://ws.gematik.de/conn/CertificateService/v6.0"),
    vsd: ("/ws/VSDService", "http://ws.gematik.de/conn/vsds/VSDService/v5.2"),
    kvk: ("/ws/KVKService", "http://ws.gematik.de/conn/vsds/KvkService/v4.0"),
    ct: ("/ws/CardTerminalService", "http://ws.gematik.de/conn/CardTerminalService/v1.1"),
    signing: ("/ws/SignatureService", "http://ws.gematik.de/conn/SignatureService/v7.5"),
    login: ("/ws/AuthSignatureService", "http://ws.gematik.de/conn/SignatureService/v7.4"),
    encryption: ("/ws/EncryptionService", "http://ws.gematik.de/conn/EncryptionService/v6.1"),
}
for name, (svc, _) in everything.items():
    path, namespace = PATHS[svc]
    envelope = f'<s:Envelope xmlns:s="{SOAP[1:-1]}"><s:Body><x:{name} xmlns:x="{namespace}"/></s:Body></s:Envelope>'
    answer = session.post(BASE + path, data=envelope, headers={"Content-Type": "text/xml"}, timeout=10)
    codes = [node.text for node in etree.fromstring(answer.content).iter("{http://ws.gematik.de/tel/error/v2.0}Code")]
    assert codes and codes[-1] == "4000", (name, answer.text)
    refused.add((name, 4000))

report()
