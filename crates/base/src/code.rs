use std::fmt;

/// Severity of an error (gemSpec_OM; the `Severity` of a trace).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Severity {
    Info,
    Warning,
    Error,
    Fatal,
}

/// Kind of an error (the `ErrorType` of a trace).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ErrorKind {
    Technical,
    Security,
}

/// A numbered error of the specifications. The number decides; the German text is what practice staff read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code {
    number: u16,
    kind: ErrorKind,
    severity: Severity,
    text: &'static str,
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        self.number
    }

    /// Technical or security error.
    pub fn kind(self) -> ErrorKind {
        self.kind
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        self.severity
    }

    /// The German text for users.
    pub fn text(self) -> &'static str {
        self.text
    }

    /// The entry with this number.
    pub fn by_number(number: u16) -> Option<Code> {
        Self::ALL.iter().copied().find(|code| code.number == number)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.text)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({})", self.number)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal, $kind:ident, $severity:ident, $text:literal;)*) => {
        impl Code {
            $(
                #[doc = concat!(stringify!($number), ": ", $text)]
                pub const $name: Code = Code {
                    number: $number,
                    kind: ErrorKind::$kind,
                    severity: Severity::$severity,
                    text: $text,
                };
            )*
            /// Every code that Langlauf can answer with.
            pub const ALL: &[Code] = &[$(Code::$name),*];
        }
    };
}

// 4xxx: gemSpec_Kon 5.18 appendix; 1xxx: gemSpec_PKI (TUC_PKI_*); 1xx and 3xxx: VSDM
codes! {
    SYNTAX = 4000, Technical, Error, "Die Anfrage entspricht nicht dem Schema";
    INTERNAL = 4001, Technical, Error, "Interner Fehler";
    CRITICAL_STATE = 4002, Security, Fatal, "Der Konnektor befindet sich in einem kritischen Betriebszustand";
    USER_ID_MISSING = 4003, Technical, Error, "UserId fehlt";
    UNKNOWN_MANDANT = 4004, Technical, Error, "Mandant unbekannt";
    UNKNOWN_CLIENT_SYSTEM = 4005, Technical, Error, "Clientsystem unbekannt";
    UNKNOWN_WORKPLACE = 4006, Technical, Error, "Arbeitsplatz unbekannt";
    UNKNOWN_TERMINAL = 4007, Technical, Error, "Kartenterminal unbekannt";
    CARD_NOT_INSERTED = 4008, Technical, Error, "Karte nicht gesteckt";
    SMB_NOT_MANAGED = 4009, Security, Error, "SM-B ist nicht als SM-B_Verwaltet eingetragen";
    CLIENT_NOT_OF_MANDANT = 4010, Security, Error, "Clientsystem ist dem Mandanten nicht zugeordnet";
    WORKPLACE_NOT_OF_MANDANT = 4011, Security, Error, "Arbeitsplatz ist dem Mandanten nicht zugeordnet";
    TERMINAL_NOT_OF_MANDANT = 4012, Security, Error, "Kartenterminal ist dem Mandanten nicht zugeordnet";
    SMB_NOT_OF_MANDANT = 4013, Security, Error, "SM-B ist dem Mandanten nicht zugeordnet";
    WORKPLACE_NOT_OF_CLIENT = 4014, Security, Error, "Arbeitsplatz ist dem Clientsystem im Mandanten nicht zugeordnet";
    TERMINAL_NOT_NEAR_WORKPLACE = 4015, Security, Error, "Kartenterminal ist weder lokal noch entfernt dem Arbeitsplatz zugeordnet";
    TERMINAL_NOT_LOCAL = 4016, Security, Error, "Kartenterminal ist nicht lokal dem Arbeitsplatz zugeordnet";
    EGK_AT_OTHER_WORKPLACE = 4017, Security, Error, "Die eGK hat eine Kartensitzung an einem anderen Arbeitsplatz";
    HBA_OF_OTHER_USER = 4018, Security, Error, "Der HBA hat eine freigeschaltete Kartensitzung eines anderen Benutzers";
    NO_ACCESS_RULE = 4019, Technical, Error, "Für diese Parameter gibt es keine Zugriffsregel";
    TERMINAL_NOT_OF_CLIENT = 4020, Security, Error, "Kartenterminal ist von keinem Arbeitsplatz des Clientsystems erreichbar";
    CONTEXT_INCOMPLETE = 4021, Technical, Error, "Pflichtparameter des Aufrufkontexts fehlen oder sind unbekannt";
    XML_NOT_WELL_FORMED = 4022, Security, Error, "XML-Dokument nicht wohlgeformt";
    XML_NOT_VALID = 4023, Security, Error, "XML-Dokument entspricht nicht dem XML-Schema";
    DOCUMENT_FORMAT_CHECK = 4024, Security, Error, "Formatvalidierung des Dokuments fehlgeschlagen";
    BAD_SCHEMA = 4026, Security, Error, "Übergebenes XML-Schema nicht verwendbar";
    CRYPTOGRAM = 4069, Technical, Error, "Daten oder Kryptogramm fehlerhaft";
    ELEMENT_MISSING = 4103, Technical, Error, "XML-Element nicht vorhanden";
    ELEMENT_AMBIGUOUS = 4104, Technical, Error, "XML-Element nicht eindeutig oder überlappend";
    ENCRYPTION_FAILED = 4105, Technical, Error, "Fehler beim hybriden Verschlüsseln";
    KEY_DOES_NOT_FIT = 4106, Technical, Error, "Falscher Schlüssel";
    DECRYPTION_FAILED = 4107, Technical, Error, "Fehler beim hybriden Entschlüsseln";
    BAD_DOCUMENT_FORMAT = 4110, Technical, Error, "Ungültiges Dokumentformat";
    BAD_SIGNATURE_TYPE = 4111, Technical, Error, "Ungültiger Signaturtyp oder ungültige Signaturvariante";
    NOT_NONQES = 4112, Technical, Error, "Dokument nicht konform zu den Regeln für nicht-qualifizierte Signaturen";
    SIGNATURE_INVALID = 4115, Security, Error, "Signatur mathematisch ungültig";
    BATCH_ONLY_WITH_HBA = 4118, Technical, Error, "Stapelsignatur nur mit dem HBA möglich";
    CARD_ERROR = 4120, Security, Error, "Kartenfehler";
    SIGNATURE_FAILED = 4123, Security, Error, "Fehler bei der Signaturerstellung";
    NOT_QES = 4124, Technical, Error, "Dokument nicht konform zu den Regeln für qualifizierte Signaturen";
    LU_SAK_OFF = 4125, Technical, Error, "Qualifizierte Signatur ist abgeschaltet (LU_SAK)";
    CARD_CANNOT_SIGN = 4126, Security, Error, "Kartentyp für diese Signatur nicht zulässig";
    NO_XML_SCHEMA = 4193, Security, Warning, "Kein XML-Schema für das XML-Dokument vorhanden";
    PLACEMENT_IGNORED = 4197, Technical, Warning, "Parameter SignaturePlacement wurde ignoriert";
    RECIPIENT_ALGORITHM = 4200, Security, Error, "Für ein Zertifikat ist kein zulässiges Verschlüsselungsverfahren möglich";
    ALGORITHM_NOT_SUPPORTED = 4201, Technical, Error, "Kryptographischer Algorithmus wird nicht unterstützt";
    NO_ROOM_IN_PDF = 4205, Technical, Error, "Nicht genügend Speicherplatz im PDF-Dokument";
    SIGNER_CERTIFICATE = 4206, Technical, Error, "Signaturzertifikat nicht ermittelbar";
    SIGNATURE_PROFILE = 4208, Technical, Error, "Dokument nicht konform zum Profil für Signaturformate";
    UNKNOWN_JOB = 4243, Technical, Error, "Jobnummer unbekannt";
    JOB_NUMBER_USED = 4252, Technical, Error, "Jobnummer wurde in den letzten 1000 Aufrufen bereits verwendet";
    NO_SIGNATURE = 4253, Technical, Error, "Keine Signatur im Aufruf";
    NOT_ALL_RECIPIENTS = 4259, Technical, Warning, "Für ein Zertifikat kann nicht verschlüsselt werden";
    REVOCATION_NOT_EMBEDDED = 4261, Technical, Warning, "Einbetten von Revokationsinformationen wird für diesen Dokumenttyp nicht unterstützt";
    NOT_WHOLE_DOCUMENT = 4262, Technical, Error, "Die Signatur umfasst nicht das gesamte Dokument";
    COMFORT_OFF = 4263, Technical, Error, "Komfortsignaturfunktion nicht aktiviert";
    CERTIFICATES_IGNORED = 4264, Technical, Warning, "Ein oder mehrere Zertifikate ignoriert";
    BAD_HANDLES = 4265, Technical, Warning, "Karten-Handle ungültig (Liste)";
    NO_SESSIONS = 4266, Technical, Warning, "Keine Kartensitzung (Liste)";
    COMFORT_ACTIVATION = 4267, Technical, Error, "Aktivierung der Komfortsignatur fehlgeschlagen";
    COMFORT_DEACTIVATION = 4268, Technical, Error, "Deaktivierung der Komfortsignatur fehlgeschlagen";
    SIGNATURE_MODE = 4269, Technical, Error, "Signaturmodus konnte nicht ermittelt werden";
    USER_ID_USED = 4270, Technical, Error, "UserId wurde in den letzten 1000 Vorgängen bereits verwendet";
    COMFORT_ENDED = 4271, Technical, Error, "Komfortsignaturmodus beendet";
    USER_ID_FORM = 4272, Technical, Error, "UserId nicht zugelassen";
    ATTRIBUTES_IGNORED = 4273, Technical, Warning, "Attribute in Properties wurden ignoriert";
    COMFORT_ONLY_WITH_HBA = 4274, Technical, Error, "Komfortsignatur nur mit dem HBA möglich";
    PIN_NOW_BLOCKED = 4275, Technical, Error, "PIN jetzt blockiert";
    PIN_WRONG = 4276, Technical, Error, "PIN falsch";
    NO_COMFORT_SESSION = 4278, Technical, Error, "Keine freie Komfortsignatursitzung verfügbar";
    TOO_MANY_RECIPIENTS = 4282, Technical, Error, "Zu viele Empfängerzertifikate";
    TERMINAL_CONNECTION = 4028, Technical, Error, "Verbindung zum Kartenterminal fehlgeschlagen";
    TERMINAL_AUTHENTICATION = 4029, Security, Error, "Kartenterminal konnte nicht authentisiert werden, mögliche Manipulation";
    TERMINAL_ADMIN_LOGIN = 4030, Security, Error, "Administrator-Zugangsdaten des Kartenterminals falsch";
    TERMINAL_NO_ANSWER = 4033, Technical, Error, "Kartenterminal antwortet nicht und wurde nicht hinzugefügt";
    TERMINAL_OTHER_MAC = 4035, Technical, Error, "Die IP-Adresse gehört zu einer anderen MAC-Adresse";
    TERMINAL_OTHER_NAME = 4036, Technical, Error, "Die IP-Adresse gehört zu einem anderen Hostnamen";
    TERMINAL_INCONSISTENT = 4037, Technical, Error, "Kartenterminalverwaltung inkonsistent";
    TERMINAL_BUSY = 4039, Technical, Error, "Kartenterminal ist durch andere Nutzung belegt";
    PAIRING_CONNECTION = 4040, Security, Error, "Verbindungsaufbau zum Kartenterminal beim Pairing fehlgeschlagen";
    PAIRING_FAILED = 4041, Technical, Error, "Pairing fehlgeschlagen";
    TERMINAL_VERSION = 4042, Technical, Error, "Version des Kartenterminals wird nicht unterstützt";
    PIN_TIMEOUT = 4043, Technical, Warning, "Zeitüberschreitung bei der PIN-Eingabe";
    TERMINAL_ACCESS = 4044, Technical, Error, "Fehler beim Zugriff auf das Kartenterminal";
    C2C_FAILED = 4048, Technical, Error, "Card-to-Card-Authentisierung fehlgeschlagen";
    USER_CANCELLED = 4049, Technical, Error, "Abbruch durch den Benutzer";
    WRONG_CARD_TYPE = 4051, Technical, Error, "Falscher Kartentyp";
    REMOTE_PIN_IMPOSSIBLE = 4053, Security, Error, "Remote-PIN-Eingabe nicht möglich";
    C2C_SOURCE = 4056, Technical, Error, "Card-to-Card-Authentisierung fehlgeschlagen, Quellkarte";
    C2C_TARGET = 4057, Technical, Error, "Card-to-Card-Authentisierung fehlgeschlagen, Zielkarte";
    NOT_PERMITTED = 4058, Security, Error, "Aufruf nicht zulässig";
    RESOURCE_BUSY = 4060, Technical, Error, "Ressource belegt";
    PIN_BLOCKED = 4063, Security, Error, "PIN bereits blockiert";
    PUK_BLOCKED = 4064, Security, Error, "PUK bereits blockiert";
    TRANSPORT_PIN = 4065, Technical, Warning, "PIN ist transportgeschützt, Änderung erforderlich";
    NO_PIN_PAD = 4066, Technical, Error, "PIN-Pad nicht verfügbar";
    NEW_PIN_DIFFERS = 4067, Security, Error, "Neue PIN nicht identisch wiederholt";
    NEW_PIN_LENGTH = 4068, Security, Error, "Neue PIN zu kurz oder zu lang";
    NO_C2C_CARD = 4071, Technical, Error, "Keine Karte für Card-to-Card-Authentisierung gesetzt";
    BAD_PIN_REFERENCE = 4072, Technical, Error, "Ungültige PIN-Referenz";
    KEY_MISSING = 4079, Technical, Error, "Schlüsseldaten fehlen";
    ACCESS_CONDITION = 4085, Security, Error, "Zugriffsbedingungen nicht erfüllt";
    DIRECTORY_DEACTIVATED = 4086, Technical, Error, "Verzeichnis deaktiviert";
    FILE_MISSING = 4087, Technical, Error, "Datei nicht vorhanden";
    RECORD_TOO_BIG = 4088, Technical, Error, "Datensatz zu groß";
    WRONG_FILE_TYPE = 4089, Technical, Error, "Falscher Dateityp";
    EGK_NOT_ALLOWED = 4090, Security, Error, "Zugriff auf die eGK nicht gestattet";
    RECORD_MISSING = 4091, Technical, Error, "Datensatz nicht vorhanden";
    NO_REMOTE_PIN_TERMINAL = 4092, Technical, Error, "Remote-PIN-Kartenterminal benötigt, aber nicht definiert";
    CARD_RESERVED = 4093, Technical, Error, "Karte wird in einer anderen Kartensitzung exklusiv verwendet";
    CARD_TIMEOUT = 4094, Technical, Error, "Zeitüberschreitung beim Kartenzugriff";
    XPATH = 4095, Technical, Error, "Fehler bei der Auswertung des XPath-Ausdrucks";
    BAD_SLOT = 4097, Technical, Error, "Ungültige Kartenslot-ID";
    SLOT_EMPTY = 4098, Technical, Error, "Keine Karte im angegebenen Slot gefunden";
    ICCSN_NOT_FOUND = 4099, Technical, Error, "Keine Karte zur angegebenen Iccsn gefunden";
    BAD_CARD_HANDLE = 4101, Technical, Error, "Karten-Handle ungültig";
    BAD_SUBSCRIPTION = 4102, Technical, Error, "SubscriptionId ungültig";
    TSL_IMPORT = 4127, Security, Error, "Import der TSL-Datei fehlgeschlagen";
    TSL_MANUAL_IMPORT = 4128, Technical, Error, "Manueller Import der TSL-Datei fehlgeschlagen";
    VL_MANUAL_IMPORT = 4129, Technical, Error, "Manueller Import der BNetzA-VL fehlgeschlagen";
    CRL_INVALID = 4130, Security, Error, "Prüfung der CRL fehlgeschlagen";
    VL_IMPORT = 4133, Security, Error, "Import der BNetzA-VL fehlgeschlagen";
    LAN_SETTINGS = 4162, Technical, Error, "Die Einstellungen der LAN-Schnittstelle sind ungültig";
    WAN_SETTINGS = 4163, Technical, Error, "Die Einstellungen der WAN-Schnittstelle sind ungültig";
    FIREWALL = 4164, Security, Fatal, "Die Regeln der Firewall konnten nicht gesetzt werden";
    ROUTE = 4167, Technical, Error, "Eine Route ist ungültig oder konnte nicht gesetzt werden";
    DHCP_SERVER = 4168, Technical, Error, "Der DHCP-Server konnte nicht gestartet werden";
    CRL_OUT_OF_DATE = 4173, Technical, Error, "Die Sperrliste der VPN-Zugangsdienste ist nicht mehr gültig";
    VPN_TI = 4174, Technical, Error, "Der VPN-Tunnel zur TI kann nicht aufgebaut werden";
    VPN_SIS = 4176, Technical, Error, "Der VPN-Tunnel zum SIS kann nicht aufgebaut werden";
    TIME_SYNC = 4177, Technical, Warning, "Die Zeit konnte nicht mit den Zeitservern der TI abgeglichen werden";
    LEGACY_NETWORKS = 4198, Technical, Error, "Die Bestandsnetze konnten nicht übernommen werden";
    UPDATE_INFORMATION = 4181, Security, Error, "Die Integrität der UpdateInformation ließ sich nicht feststellen";
    UPDATE_DOWNLOAD = 4182, Security, Error, "Nicht alle Dateien des Updates konnten geladen werden";
    UPDATE_FILES = 4183, Security, Error, "Die Integrität der Dateien des Updates ließ sich nicht feststellen";
    UPDATE_FAILED = 4184, Security, Error, "Das Update konnte nicht angewendet werden";
    FIRMWARE_GROUP = 4185, Security, Error, "Die Firmware-Version gehört nicht zur gültigen Firmware-Gruppe";
    TERMINAL_UPDATE_DOWNLOAD = 4186, Security, Error, "Nicht alle Dateien des Kartenterminal-Updates konnten geladen werden";
    TERMINAL_UPDATE_FAILED = 4187, Security, Error, "Das Kartenterminal-Update ist fehlgeschlagen";
    KSR_UNREACHABLE = 4188, Technical, Error, "Der Konfigurationsdienst ist nicht erreichbar";
    KSR_LIST = 4190, Technical, Error, "Die Liste der Updates konnte nicht abgerufen werden";
    NAME_SERVICE = 4180, Technical, Error, "Der Namensdienst arbeitet nicht";
    CERTIFICATE_MISSING = 4147, Technical, Error, "Zertifikat nicht vorhanden";
    CERTIFICATE_UNREADABLE = 4148, Technical, Error, "Fehler beim Extrahieren von Zertifikatsinformationen";
    BAD_CERT_REF = 4149, Technical, Error, "Ungültige Zertifikatsreferenz";
    CVC_CHECK = 4196, Technical, Error, "CV-Zertifikat konnte nicht geprüft werden";
    REQUEST_CARD_TIMEOUT = 4202, Technical, Error, "Es wurde keine Karte in der vorgegebenen Zeit gesteckt";
    CARD_NOT_REMOVED = 4203, Technical, Error, "Karte deaktiviert, aber nicht entnommen";
    CLIENT_NOT_AUTHENTICATED = 4204, Security, Error, "Clientsystem aus dem Aufrufkontext konnte nicht authentisiert werden";
    CARD_TYPE_NOT_SUPPORTED = 4209, Technical, Error, "Kartentyp wird durch diese Operation nicht unterstützt";
    TERMINAL_NOT_ACTIVE = 4221, Technical, Error, "Kartenterminal nicht aktiv";
    TERMINAL_NOT_CONNECTED = 4222, Technical, Error, "Kartenterminal nicht verbunden";
    CROSS_CVC_MISSING = 4228, Technical, Error, "Cross-CV-Zertifikat fehlt";
    CARD_NOT_LOCKED = 4232, Technical, Error, "Aufrufer besitzt keine Reservierung der Karte";
    CVC_IN_FUTURE = 4233, Security, Error, "Ausstellungsdatum des CV-Zertifikats liegt in der Zukunft";
    LOG_ONLY_EGK = 4251, Technical, Error, "Zugriffsprotokollierung nur auf der eGK möglich";
    CROSS_IMPORT = 4255, Security, Error, "Import des TSL-Cross-Zertifikats fehlgeschlagen";
    TLS_SERVER = 4156, Security, Error, "TLS-Server konnte nicht authentisiert werden";
    CERTIFICATE_NOT_ON_CARD = 4256, Technical, Warning, "Zertifikat nicht auf der Karte vorhanden";
    ECC_NOT_ON_CARDS = 4257, Technical, Warning, "ECC-Zertifikate nicht auf allen Karten vorhanden";
    ECC_NOT_ON_CARD = 4258, Technical, Error, "ECC-Zertifikate nicht auf der Karte vorhanden";
    NOT_IN_TSL = 4260, Security, Error, "Zertifikat nicht vorhanden in TSL";
    DOCUMENT_DIMENSIONS = 4280, Security, Error, "Dimensionierung des Dokuments nicht unterstützt";
    FORBIDDEN_CONTENT = 4281, Security, Error, "Dokument enthält unzulässige Inhalte";
    DOCUMENT_TOO_BIG = 4283, Technical, Error, "Dokument zu groß";
    TSL_INIT = 1001, Technical, Error, "Es liegt keine gültige TSL vor";
    TSL_CERT_EXTRACTION = 1002, Technical, Error, "Zertifikat des TSL-Signers lässt sich nicht extrahieren";
    MULTIPLE_TRUST_ANCHOR = 1003, Security, Error, "Mehr als ein neuer Vertrauensanker in der TSL";
    TSL_CA_EXTRACTION = 1004, Technical, Error, "Neuer Vertrauensanker lässt sich nicht aus der TSL extrahieren";
    TSL_DOWNLOAD = 1006, Technical, Error, "TSL-Download-Adressen wiederholt nicht erreichbar";
    TSL_ID = 1007, Security, Error, "ID und Sequenznummer der TSL passen nicht zur vorhandenen TSL";
    TSL_TOO_OLD = 1009, Security, Warning, "Nachfrist der TSL überschritten";
    TSL_FORMAT = 1011, Technical, Error, "TSL-Datei nicht wohlgeformt";
    TSL_SCHEMA = 1012, Technical, Error, "Schema der TSL-Datei nicht korrekt";
    TSL_SIGNATURE = 1013, Security, Error, "XML-Signatur nicht gültig";
    KEY_USAGE_MISMATCH = 1016, Security, Error, "KeyUsage fehlt oder nicht wie vorgesehen";
    EXT_KEY_USAGE_MISMATCH = 1017, Security, Error, "ExtendedKeyUsage nicht wie vorgesehen";
    CERT_TYPE_MISMATCH = 1018, Security, Error, "Zertifikatstyp stimmt nicht überein";
    CERT_UNREADABLE = 1019, Technical, Error, "Zertifikat nicht lesbar";
    CERT_EXPIRED = 1021, Security, Error, "Zertifikat zeitlich nicht gültig";
    AUTHORITY_KEY_ID = 1023, Security, Error, "AuthorityKeyIdentifier passt nicht zur ausstellenden CA";
    CERT_SIGNATURE = 1024, Security, Error, "Zertifikatssignatur mathematisch nicht gültig";
    OCSP_ADDRESS_MISSING = 1026, Technical, Error, "Adresse des Statusdienstes nicht gefunden";
    ISSUER_NOT_IN_TSL = 1027, Technical, Error, "Aussteller-CA nicht in der TSL vorhanden";
    OCSP_TOLERATED = 1028, Technical, Warning, "OCSP-Prüfung nicht möglich (toleriert)";
    OCSP_FAILED = 1029, Technical, Error, "OCSP-Prüfung konnte nicht durchgeführt werden";
    OCSP_CERT_MISSING = 1030, Security, Error, "Zertifikat des OCSP-Signers nicht in der TSL enthalten";
    OCSP_SIGNATURE = 1031, Security, Error, "Signatur der OCSP-Antwort ungültig";
    OCSP_UNREACHABLE = 1032, Technical, Error, "OCSP-Responder nicht verfügbar";
    CERT_TYPE_MISSING = 1033, Security, Error, "Zertifikat nennt keinen Zertifikatstyp";
    CA_REVOKED = 1036, Security, Error, "Zertifikat wurde nach der Sperrung der Aussteller-CA ausgestellt";
    NO_OCSP_CHECK = 1039, Security, Warning, "Sperrstatus im Offline-Modus nicht geprüft";
    CERT_HASH_MISSING = 1040, Security, Error, "CertHash fehlt in der OCSP-Antwort";
    CERT_HASH_MISMATCH = 1041, Security, Error, "CertHash der OCSP-Antwort stimmt nicht überein";
    CRL_CHECK = 1043, Technical, Error, "CRL kann nicht ausgewertet werden";
    CERT_UNKNOWN = 1044, Technical, Warning, "Keine Statusinformation zum Zertifikat verfügbar";
    CERT_REVOKED = 1047, Security, Warning, "Zertifikat gesperrt";
    QC_STATEMENT = 1048, Technical, Error, "QCStatements fehlen oder sind fehlerhaft";
    OCSP_NONCE = 1051, Security, Error, "Nonce der OCSP-Antwort stimmt nicht überein";
    CRL_DOWNLOAD = 1053, Technical, Error, "CRL kann nicht heruntergeladen werden";
    CRL_OUTDATED = 1054, Technical, Error, "CRL ist nicht mehr gültig";
    CRL_SIGNER_MISSING = 1055, Security, Error, "CRL-Signer nicht in der TSL enthalten";
    CRL_SIGNATURE = 1057, Security, Error, "Signatur der CRL ungültig";
    OCSP_STATUS = 1058, Technical, Error, "OCSP-Responder meldet eine Ausnahme";
    CA_NOT_QES = 1059, Security, Error, "CA ist nicht für qualifizierte Signaturen zugelassen";
    VL_UPDATE = 1060, Technical, Error, "Vertrauensliste der BNetzA kann nicht aktualisiert werden";
    CA_NOT_AUTHORIZED = 1061, Security, Error, "CA darf laut TSL keine Zertifikate dieses Typs ausstellen";
    QES_CA_REVOKED = 1062, Security, Error, "QES-Zertifikat wurde nach der Sperrung der QES-CA ausgestellt";
    EGK_UNREADABLE = 105, Technical, Error, "eGK nicht lesbar";
    EGK_REVOKED = 106, Security, Error, "Zertifikat der eGK gesperrt";
    EGK_CERT_INVALID = 107, Security, Error, "Zertifikat der eGK ungültig";
    EGK_LOG_FAILED = 108, Technical, Error, "Protokollierung auf der eGK fehlgeschlagen";
    SMC_HBA_UNREADABLE = 109, Technical, Error, "SMC oder HBA nicht lesbar";
    EGK_COMMAND = 110, Technical, Error, "Kommando an die eGK fehlgeschlagen";
    EGK_READ = 111, Technical, Error, "Lesen der eGK fehlgeschlagen";
    EGK_WRITE = 112, Technical, Error, "Schreiben auf die eGK fehlgeschlagen";
    EGK_TOO_OLD = 113, Technical, Error, "Generation der eGK wird nicht unterstützt";
    HEALTH_APP_BLOCKED = 114, Security, Error, "Gesundheitsanwendung auf der eGK gesperrt";
    VSD_INCONSISTENT = 3001, Technical, Error, "Versichertenstammdaten auf der eGK inkonsistent";
    VSD_READ = 3011, Technical, Error, "Versichertenstammdaten konnten nicht gelesen werden";
    KVK_READ = 3020, Technical, Error, "KVK konnte nicht gelesen werden";
    KVK_CHECKSUM = 3021, Technical, Error, "Prüfsumme der KVK falsch";
    RECEIPT_UNDECRYPTABLE = 3039, Technical, Error, "Prüfungsnachweis nicht entschlüsselbar";
    RECEIPT_MISSING = 3040, Technical, Error, "Kein Prüfungsnachweis auf der eGK vorhanden";
    SMCB_NOT_VERIFIED = 3041, Technical, Error, "SM-B nicht freigeschaltet";
    HBA_NOT_VERIFIED = 3042, Technical, Error, "HBA nicht freigeschaltet";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique() {
        let mut numbers: Vec<_> = Code::ALL.iter().map(|code| code.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Code::ALL.len());
        assert_eq!(Code::by_number(4093), Some(Code::CARD_RESERVED));
    }
}
