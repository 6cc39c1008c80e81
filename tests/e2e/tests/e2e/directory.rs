//! The directory service through the Konnektor: a real directory (OpenLDAP) behind it, a real client before it.

use asn1::oid;
use base::Clock;
use crypto::{Curve, pem};
use e2e::Morning;
use langlauf::demo::Walk;
use langlauf::world::World;
use pki::issue::profile;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(20);

async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn run(folder: &Path, program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("LDAPTLS_CACERT", folder.join("konnektor-ca.pem"))
        .env("LDAPTLS_CERT", folder.join("practice.crt"))
        .env("LDAPTLS_KEY", folder.join("practice.key"))
        .env("LDAPTLS_REQCERT", "demand")
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .unwrap_or_else(|error| panic!("{program}: {error}: run `make setup`"));
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), text.concat())
}

/// The directory: two entries, one with a certificate.
async fn directory(
    world: &World,
    folder: &Path,
    address: SocketAddr,
    good: bool,
    clock: &dyn Clock,
) -> Child {
    // one of another service of the TI, or the directory's
    let role = if good { oid::ROLE_VZD_TI } else { oid::ROLE_TSL_TI };
    let identity = world
        .pki
        .component(
            Curve::NistP256,
            &profile::ZD_TLS_S,
            role,
            "vzd",
            &["localhost"],
            &["127.0.0.1".parse().unwrap()],
        )
        .unwrap();
    world.ledger.register(&identity.chain[0]);
    let place = folder.join(format!("slapd-{good}"));
    std::fs::create_dir_all(place.join("data")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(place.join(name), text).unwrap();
    write(
        "vzd.crt",
        &pem::encode("CERTIFICATE", &identity.chain[0]).unwrap(),
    );
    write(
        "vzd.key",
        &pem::encode("PRIVATE KEY", &identity.key.to_pkcs8().unwrap()).unwrap(),
    );
    let dir = place.display();
    write(
        "slapd.conf",
        &format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             pidfile {dir}/pid\nTLSCertificateFile {dir}/vzd.crt\nTLSCertificateKeyFile {dir}/vzd.key\n\
             database mdb\nsuffix \"dc=data,dc=vzd\"\nrootdn \"cn=admin,dc=data,dc=vzd\"\nrootpw secret\n\
             directory {dir}/data\naccess to * by * write\n"
        ),
    );
    use base64::Engine;
    let certificate = base64::engine::general_purpose::STANDARD.encode(&identity.chain[0]);
    write(
        "entries.ldif",
        &format!(
            "dn: dc=data,dc=vzd\nobjectClass: dcObject\nobjectClass: organization\ndc: data\no: VZD\n\n\
             dn: uid=1,dc=data,dc=vzd\nobjectClass: inetOrgPerson\nuid: 1\ncn: Praxis Dr. Spur\nsn: Spur\n\
             mail: spur@langlauf.kim.telematik-test\nuserCertificate;binary:: {certificate}\n"
        ),
    );
    let (code, text) = run(
        &place,
        "/usr/sbin/slapadd",
        &["-f", "slapd.conf", "-l", "entries.ldif"],
    )
    .await;
    assert_eq!(code, Some(0), "{text}");
    let child = Command::new("/usr/sbin/slapd")
        .args([
            "-f",
            "slapd.conf",
            "-d",
            "0",
            "-h",
            &format!("ldaps://{address}/"),
        ])
        .current_dir(&place)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let up = async || TcpStream::connect(address).await.is_ok();
    world.wait_for("slapd", LIMIT, clock, up).await.unwrap();
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_read_and_only_read() {
    let (listen, real) = (free_address().await, free_address().await);
    let settings = format!(
        "[ldap]\nlisten = \"{listen}\"\ndirectory = \"https://127.0.0.1:{}\"\n",
        real.port()
    );
    let morning = Morning::with(|options| options.settings = settings.parse().unwrap())
        .await
        .unwrap();
    let (world, folder) = (&morning.world, morning.folder.path());
    Walk::new(world, &*morning.clock, true, &|_| ())
        .run()
        .await
        .unwrap();
    let url = format!("ldaps://127.0.0.1:{}", listen.port());
    let search = ["ldapsearch", "-x", "-LLL", "-H", &url, "-b", "dc=data,dc=vzd"];
    let ask = async |filter: &str| run(folder, search[0], &[&search[1..], &[filter]].concat()).await;
    // nobody there yet: said, not guessed
    let (code, text) = ask("(cn=*Spur*)").await;
    assert_eq!(code, Some(52), "{text}");
    // somebody whose certificate is no directory's
    let stranger = directory(world, folder, real, false, &*morning.clock).await;
    let (code, text) = ask("(cn=*Spur*)").await;
    assert_eq!(code, Some(52), "{text}");
    drop(stranger);
    let free = async || TcpStream::connect(real).await.is_err();
    world
        .wait_for("port", LIMIT, &*morning.clock, free)
        .await
        .unwrap();
    let _directory = directory(world, folder, real, true, &*morning.clock).await;
    let (code, text) = ask("(&(cn=*Spur*)(mail=spur@*))").await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("mail: spur@langlauf.kim.telematik-test"), "{text}");
    assert!(text.contains("userCertificate;binary:: MI"), "{text}");
    let (code, text) = ask("(cn=Niemand)").await;
    assert_eq!((code, text.as_str()), (Some(0), ""));
    // the directory itself would take it: the Konnektor does not
    let change = folder.join("change.ldif");
    std::fs::write(
        &change,
        "dn: uid=1,dc=data,dc=vzd\nchangetype: modify\nreplace: sn\nsn: Anders\n",
    )
    .unwrap();
    let file = change.to_str().unwrap();
    let who = ["-x", "-D", "cn=admin,dc=data,dc=vzd", "-w", "secret", "-H", &url];
    let (code, text) = run(folder, "ldapmodify", &[&who[..], &["-f", file]].concat()).await;
    assert_eq!(code, Some(53), "{text}");
    let (code, text) = run(
        folder,
        "ldapdelete",
        &[&who[..], &["uid=1,dc=data,dc=vzd"]].concat(),
    )
    .await;
    assert_eq!(code, Some(53), "{text}");
    let (_, text) = run(folder, "ldapwhoami", &["-x", "-H", &url]).await;
    assert!(text.contains("unwilling to perform (53)"), "{text}");
    // without a certificate of a client system nobody comes in
    let output = Command::new("ldapsearch")
        .args(&search[1..])
        .env("LDAPTLS_CACERT", folder.join("konnektor-ca.pem"))
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
}
