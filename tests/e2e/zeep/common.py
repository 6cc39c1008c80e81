"""What the practice systems of the end-to-end tests share: zeep with the official WSDLs in strict mode. Every answer is
validated against the official schema. Scripts are called as SCRIPT SCHEMAS FOLDER ADDRESSES_JSON."""
import json
import sys
import threading
import time
from pathlib import Path

import requests
import zeep
from lxml import etree
from zeep.plugins import Plugin
from zeep.transports import Transport

schemas, folder, addresses = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
BASE = "https://" + addresses["konnektor"]
PAGE = "http://" + addresses["page"]
CONTEXT = {"MandantId": "Praxis", "ClientSystemId": "PVS", "WorkplaceId": "Anmeldung"}
SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
XSD = {
    "EventService": "conn/EventService.xsd",
    "CardService": "conn/CardService_v8_1_3.xsd",
    "CardTerminalService": "conn/CardTerminalService.xsd",
    "CertificateService": "conn/CertificateService_v6_0_2.xsd",
    "SignatureService 7.4": "conn/SignatureService_V7_4_4.xsd",
    "SignatureService 7.5": "conn/SignatureService_V7_5_6.xsd",
    "AuthSignatureService": "conn/SignatureService_V7_4_4.xsd",
    "EncryptionService": "conn/EncryptionService_v6_1_2.xsd",
    "VSDService": "conn/vsds/VSDService.xsd",
    "KvkService": "conn/vsds/KvkService.xsd",
}
done = set()
refused = set()


class Validate(Plugin):
    """Every body that comes back must be valid by the official schema."""

    def __init__(self, name):
        self.schema = etree.XMLSchema(file=str(schemas / XSD[name]))
        self.errors = etree.XMLSchema(file=str(schemas / "tel/error/TelematikError.xsd"))

    def ingress(self, envelope, headers, operation):
        body = envelope.find(SOAP + "Body")[0]
        if body.tag == SOAP + "Fault":
            self.errors.assertValid(body.find("detail")[0])
        else:
            self.schema.assertValid(body)
        return envelope, headers


session = requests.Session()
session.cert = (str(folder / "practice.crt"), str(folder / "practice.key"))
session.trust_env = False
session.verify = str(folder / "konnektor-ca.pem")


def service(wsdl, name, path):
    settings = zeep.Settings(strict=True, forbid_entities=False)
    client = zeep.Client(str(schemas / wsdl), settings=settings, transport=Transport(session=session), plugins=[Validate(name)])
    binding = next(iter(client.wsdl.bindings))
    return client.create_service(binding, BASE + path)


def call(svc, operation, **arguments):
    done.add(operation)
    return getattr(svc, operation)(**arguments)


def fault(code, svc, operation, **arguments):
    try:
        answer = getattr(svc, operation)(**arguments)
    except zeep.exceptions.Fault as error:
        codes = [node.text for node in error.detail.iter("{http://ws.gematik.de/tel/error/v2.0}Code")]
        assert codes and codes[-1] == str(code), f"{operation}: expected {code}, got {codes}"
        refused.add((operation, code))
        return
    raise AssertionError(f"{operation}: expected fault {code}, got {answer}")


def act(action):
    answer = requests.post(PAGE + "/action", json=action, timeout=5)
    assert answer.ok, answer.text


def typing(*entries):
    """Types these PINs, one prompt after the other, while a call waits."""

    def work():
        seen = None
        for entry in entries:
            for _ in range(500):
                prompt = requests.get(PAGE + "/state", timeout=5).json()["waiting_for"]
                if prompt and prompt != seen:
                    break
                time.sleep(0.02)
            seen = prompt
            act("cancel" if entry == "cancel" else {"type": {"digits": entry}})

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def pin(svc, operation, handle, name, *entries, **more):
    thread = typing(*entries)
    answer = call(svc, operation, Context=CONTEXT, CardHandle=handle, PinTyp=name, **more)
    thread.join()
    return answer




def report():
    """What was provoked, for docs/conformance.md."""
    table = {}
    for operation, code in sorted(refused):
        table.setdefault(operation, []).append(code)
    print(json.dumps(table))
