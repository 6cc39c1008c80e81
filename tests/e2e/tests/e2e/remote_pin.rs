//! Remote PIN: an SMC-B and an HBA sit in a cabinet, their PINs are typed at the reception. Nothing in between sees them.

use base::id::{CtId, Mac};
use e2e::{Morning, Station};
use konnektor::model::RemotePin;
use langlauf::practice::{Operation, Practice};
use langlauf::world::TERMINAL;
use std::time::Duration;
use terminal::simulator::VirtualTerminal;

const LIMIT: Duration = Duration::from_secs(30);

/// Calls a PIN operation in the name of a user; each entry is typed at `pad`, or the cancel key pressed.
async fn pin(
    practice: &Practice,
    pad: &VirtualTerminal,
    operation: &str,
    handle: &str,
    name: &str,
    entries: &[&str],
) -> Result<String, u32> {
    let body = format!(
        "<C:{operation} xmlns:C=\"{}\" xmlns:X=\"http://ws.gematik.de/conn/ConnectorContext/v2.0\" \
         xmlns:N=\"http://ws.gematik.de/conn/ConnectorCommon/v5.0\" \
         xmlns:D=\"http://ws.gematik.de/conn/CardServiceCommon/v2.0\"><X:Context><N:MandantId>Praxis</N:MandantId>\
         <N:ClientSystemId>PVS</N:ClientSystemId><N:WorkplaceId>Anmeldung</N:WorkplaceId><N:UserId>spur</N:UserId>\
         </X:Context><N:CardHandle>{handle}</N:CardHandle><D:PinTyp>{name}</D:PinTyp></C:{operation}>",
        soap::ns::CARD
    );
    let (answer, ()) = tokio::join!(
        practice.post("/ws/CardService", &body),
        e2e::type_at(pad, entries)
    );
    let answer = answer.unwrap();
    match answer.fault() {
        Some(code) => Err(code),
        None => Ok(answer.text("PinResult").unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_at_the_reception_for_cards_in_the_cabinet() {
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, practice) = (&morning.world, &morning.world.practice);
    let inner = world.konnektor().unwrap().inner();
    let mac: Mac = "02-4C-4C-00-00-55".parse().unwrap();
    let cabinet = Station::start(&morning, "KT5", mac, &["HBA", "SMC-B"])
        .await
        .unwrap();
    let id: CtId = "KT5".parse().unwrap();
    inner
        .add_terminal(id.clone(), cabinet.address, None, None)
        .await
        .unwrap();
    cabinet.pair(&morning, &id).await.unwrap();
    let reception: CtId = TERMINAL.parse().unwrap();
    let mut model = (*inner.model()).clone();
    model.mandants[0].terminals.insert(id.clone());
    model.mandants[0].smb.extend(cabinet.smb.clone());
    model.workplaces[0].remote_terminals.insert(id.clone());
    inner.set_model(model.clone()).unwrap();
    let handle = |kind: &'static str| {
        let id = id.clone();
        async move {
            let answer = practice
                .call(Operation::GetCards {
                    card_type: Some(kind),
                })
                .await
                .unwrap();
            let places = answer.texts("CtId");
            let found = places.iter().position(|place| *place == id.as_str())?;
            answer.texts("CardHandle").into_iter().nth(found)
        }
    };
    let known = async || handle("SMC-B").await.is_some() && handle("HBA").await.is_some();
    world
        .wait_for("cards", LIMIT, &*morning.clock, known)
        .await
        .unwrap();
    let (smcb, hba) = (handle("SMC-B").await.unwrap(), handle("HBA").await.unwrap());
    let pad = &world.terminal;
    let call = async |operation: &str, handle: &str, name: &str, entries: &[&str]| {
        pin(practice, pad, operation, handle, name, entries).await
    };

    // no terminal to type at is configured
    assert_eq!(call("VerifyPin", &smcb, "PIN.SMC", &[]).await, Err(4092));
    model.mandants[0].remote_pin.push(RemotePin {
        workplace: "Anmeldung".parse().unwrap(),
        terminal: reception,
    });
    inner.set_model(model).unwrap();

    let ok = |result: Result<String, u32>| assert_eq!(result.as_deref(), Ok("OK"));
    assert_eq!(call("VerifyPin", &smcb, "PIN.SMC", &["cancel"]).await, Err(4049));
    let wrong = call("VerifyPin", &smcb, "PIN.SMC", &["999999"]).await;
    assert_eq!(wrong.as_deref(), Ok("REJECTED"));
    assert!(
        pad.appearance().display.contains("falsch"),
        "{:?}",
        pad.appearance()
    );
    ok(call("VerifyPin", &smcb, "PIN.SMC", &["123456"]).await);
    assert!(
        pad.appearance().display.contains("erfolgreich"),
        "{:?}",
        pad.appearance()
    );
    assert!(cabinet.terminal.appearance().display.is_empty());

    // the reception's eGK is read with the SMC-B of the cabinet
    let egk = practice.cards("EGK").await.unwrap().pop().unwrap();
    let read = Operation::ReadVsd {
        ehc: &egk,
        hpc: &smcb,
        online: false,
        receipt: false,
    };
    assert_eq!(practice.call(read).await.unwrap().fault(), None);

    let differ = call("ChangePin", &smcb, "PIN.SMC", &["123456", "111111", "222222"]).await;
    assert_eq!(differ, Err(4067));
    ok(call("ChangePin", &smcb, "PIN.SMC", &["123456", "654321", "654321"]).await);
    ok(call("ChangePin", &hba, "PIN.QES", &["123456", "654321", "654321"]).await);
    ok(call("VerifyPin", &hba, "PIN.CH", &["123456"]).await);
    ok(call("UnblockPin", &hba, "PIN.CH", &["12345678"]).await);

    // without the gSMC-KT nobody can encipher
    pad.remove(4).unwrap();
    let gone = async || practice.cards("SMC-KT").await.is_ok_and(|cards| cards.len() == 1);
    world
        .wait_for("gSMC-KT", LIMIT, &*morning.clock, gone)
        .await
        .unwrap();
    assert_eq!(call("ChangePin", &smcb, "PIN.SMC", &[]).await, Err(4053));
}
