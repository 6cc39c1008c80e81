//! Object identifiers of the TI (gemSpec_OID) and the few others we name.

use der::asn1::ObjectIdentifier as Oid;

macro_rules! oids {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Oid = Oid::new_unwrap($text);)*
    };
}

oids! {
    /// brainpoolP256r1.
    BRAINPOOL_P256R1 = "1.3.36.3.3.2.8.1.1.7";
    /// NIST P-256.
    NIST_P256 = "1.2.840.10045.3.1.7";
    /// id-ecPublicKey.
    EC_PUBLIC_KEY = "1.2.840.10045.2.1";
    /// rsaEncryption.
    RSA_ENCRYPTION = "1.2.840.113549.1.1.1";
    /// ecdsa-with-SHA256.
    ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
    /// sha256WithRSAEncryption.
    SHA256_WITH_RSA = "1.2.840.113549.1.1.11";
    /// RSASSA-PSS.
    RSA_PSS = "1.2.840.113549.1.1.10";
    /// SHA-1, only as the hash of an OCSP CertID.
    SHA1 = "1.3.14.3.2.26";
    /// SHA-256.
    SHA256 = "2.16.840.1.101.3.4.2.1";
    /// SHA-384.
    SHA384 = "2.16.840.1.101.3.4.2.2";
    /// SHA-512.
    SHA512 = "2.16.840.1.101.3.4.2.3";
    /// id-mgf1.
    MGF1 = "1.2.840.113549.1.1.8";
    /// id-RSAES-OAEP.
    RSA_OAEP = "1.2.840.113549.1.1.7";
    /// oid_ti_ecies_transport_encryption.
    ECIES = "1.2.276.0.76.4.222";
    /// id-aes256-GCM.
    AES256_GCM = "2.16.840.1.101.3.4.1.46";
    /// id-data.
    CMS_DATA = "1.2.840.113549.1.7.1";
    /// id-signedData.
    CMS_SIGNED_DATA = "1.2.840.113549.1.7.2";
    /// id-ct-authEnvelopedData.
    CMS_AUTH_ENVELOPED_DATA = "1.2.840.113549.1.9.16.1.23";
    /// id-contentType.
    CONTENT_TYPE = "1.2.840.113549.1.9.3";
    /// id-messageDigest.
    MESSAGE_DIGEST = "1.2.840.113549.1.9.4";
    /// id-signingTime.
    SIGNING_TIME = "1.2.840.113549.1.9.5";
    /// id-countersignature.
    COUNTER_SIGNATURE = "1.2.840.113549.1.9.6";
    /// id-aa-signingCertificateV2.
    SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47";
    /// id-aa-signingCertificate, with SHA-1.
    SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12";
    /// id-aa-signatureTimeStampToken.
    TIME_STAMP_TOKEN = "1.2.840.113549.1.9.16.2.14";
    /// id-aa-contentHint.
    CONTENT_HINTS = "1.2.840.113549.1.9.16.2.4";
    /// mime-type (ETSI).
    MIME_TYPE = "0.4.0.1733.2.1";
    /// id-aa-ets-sigPolicyId.
    SIGNATURE_POLICY = "1.2.840.113549.1.9.16.2.15";
    /// id-aa-ets-revocationValues.
    REVOCATION_VALUES = "1.2.840.113549.1.9.16.2.24";
    /// id-ri-ocsp-response.
    RI_OCSP_RESPONSE = "1.3.6.1.5.5.7.16.2";
    /// id-ct-TSTInfo.
    TST_INFO = "1.2.840.113549.1.9.16.1.4";
    /// Admission extension of Common PKI.
    ADMISSION = "1.3.36.8.3.3";
    /// CertHash extension of an OCSP answer.
    CERT_HASH = "1.3.36.8.3.13";
    /// id-pkix-ocsp-basic.
    OCSP_BASIC = "1.3.6.1.5.5.7.48.1.1";
    /// id-pkix-ocsp-nonce.
    OCSP_NONCE = "1.3.6.1.5.5.7.48.1.2";
    /// id-ad-ocsp.
    AD_OCSP = "1.3.6.1.5.5.7.48.1";
    /// id-kp-OCSPSigning.
    KP_OCSP_SIGNING = "1.3.6.1.5.5.7.3.9";
    /// id-kp-serverAuth.
    KP_SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
    /// id-kp-clientAuth.
    KP_CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
    /// id-tsl-kp-tslSigning.
    KP_TSL_SIGNING = "0.4.0.2231.3.0";
    /// oid_policy_gem_or_cp.
    POLICY_GEM_OR_CP = "1.2.276.0.76.4.163";

    /// oid_tsl_placeholder: nothing is said.
    TSL_PLACEHOLDER = "1.2.276.0.76.4.124";

    // certificate types
    /// C.CH.AUT.
    EGK_AUT = "1.2.276.0.76.4.70";
    /// C.CH.ENC.
    EGK_ENC = "1.2.276.0.76.4.68";
    /// C.HP.QES.
    HBA_QES = "1.2.276.0.76.4.72";
    /// C.HP.ENC.
    HBA_ENC = "1.2.276.0.76.4.74";
    /// C.HP.AUT.
    HBA_AUT = "1.2.276.0.76.4.75";
    /// C.HCI.ENC.
    SMC_B_ENC = "1.2.276.0.76.4.76";
    /// C.HCI.AUT.
    SMC_B_AUT = "1.2.276.0.76.4.77";
    /// C.HCI.OSIG.
    SMC_B_OSIG = "1.2.276.0.76.4.78";
    /// C.AK.AUT.
    AK_AUT = "1.2.276.0.76.4.79";
    /// C.NK.VPN.
    NK_VPN = "1.2.276.0.76.4.80";
    /// C.VPNK.VPN.
    VPNK_VPN = "1.2.276.0.76.4.81";
    /// C.VPNK.VPN-SIS.
    VPNK_VPN_SIS = "1.2.276.0.76.4.165";
    /// C.SMKT.AUT.
    SMKT_AUT = "1.2.276.0.76.4.82";
    /// C.SAK.AUT.
    SAK_AUT = "1.2.276.0.76.4.113";
    /// C.FD.TLS-S.
    FD_TLS_S = "1.2.276.0.76.4.169";

    /// C.ZD.TLS-S.
    ZD_TLS_S = "1.2.276.0.76.4.157";
    /// id-etsi-qcs-QcCompliance: the certificate claims to be qualified.
    QC_COMPLIANCE = "0.4.0.1862.1.1";

    // technical roles
    /// Verzeichnisdienst.
    ROLE_VZD_TI = "1.2.276.0.76.4.171";
    /// TSL-Dienst.
    ROLE_TSL_TI = "1.2.276.0.76.4.189";
    /// Versichertenstammdatendienst.
    ROLE_VSDD = "1.2.276.0.76.4.97";
    /// OCSP responder.
    ROLE_OCSP = "1.2.276.0.76.4.99";
    /// Anwendungskonnektor.
    ROLE_AK = "1.2.276.0.76.4.103";
    /// Netzkonnektor.
    ROLE_NK = "1.2.276.0.76.4.104";
    /// Card terminal.
    ROLE_KT = "1.2.276.0.76.4.105";
    /// Signaturanwendungskomponente.
    ROLE_SAK = "1.2.276.0.76.4.119";
    /// Intermediär VSDM.
    ROLE_INT_VSDM = "1.2.276.0.76.4.159";
    /// Konfigurationsdienst.
    ROLE_CONFIGURATION = "1.2.276.0.76.4.160";
    /// VPN-Zugangsdienst TI.
    ROLE_VPNZ_TI = "1.2.276.0.76.4.161";

    // professions and institutions
    /// Ärztin/Arzt.
    PROFESSION_ARZT = "1.2.276.0.76.4.30";
    /// Versicherte/-r.
    PROFESSION_VERSICHERTER = "1.2.276.0.76.4.49";
    /// Betriebsstätte Arzt.
    INSTITUTION_PRAXIS_ARZT = "1.2.276.0.76.4.50";
}
