"""A practice that works while the certificates of its Konnektor are extended: every call with a new connection, every answer
valid by the official schema, not one of them a fault. Writes `zeep-at-work` when it has begun and ends when `zeep-may-go`
is there; its last line is the number of calls."""
from common import *  # noqa: F403 the shared half of this script

events = service("conn/EventService.wsdl", "EventService", "/ws/EventService")
vsd = service("conn/vsds/VSDService.wsdl", "VSDService", "/ws/VSDService")
certificates = service("conn/CertificateService_v6_0_3.wsdl", "CertificateService", "/ws/CertificateService")


def handle(kind):
    cards = call(events, "GetCards", Context=CONTEXT, CardType=kind).Cards.Card
    return cards[0].CardHandle


count = 0
while not (folder / "zeep-may-go").exists():
    egk, smcb = handle("EGK"), handle("SMC-B")
    read = call(vsd, "ReadVSD", EhcHandle=egk, HpcHandle=smcb, PerformOnlineCheck=False, ReadOnlineReceipt=False, Context=CONTEXT)
    assert read.PersoenlicheVersichertendaten
    call(certificates, "ReadCardCertificate", CardHandle=smcb, Context=CONTEXT, CertRefList={"CertRef": ["C.AUT"]}, Crypt="ECC")
    count += 4
    # the next round shakes hands again
    session.close()
    (folder / "zeep-at-work").write_text(str(count))
print(count)
