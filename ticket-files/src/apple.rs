//! Passes for Apple Wallet. A pass is a ZIP file: `pass.json` has what it says, `manifest.json` the
//! hashes of its files, and `signature` is a detached CMS signature of the manifest.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Cursor, Write};
use std::time::SystemTime;

use chrono::{DateTime, Days, Utc};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use data_encoding::HEXLOWER;
use der::asn1::{GeneralizedTime, Null, ObjectIdentifier, OctetString, SetOfVec, UtcTime};
use der::{Any, Decode, Encode, EncodeValue, Tagged};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use secrecy::SecretString;
use serde_json::{Value, json};
use x509_cert::attr::Attribute;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::{Certificate, time::Time};
use zip::{ZipWriter, result::ZipError, write::SimpleFileOptions};

use crate::rsa::{self, Key};
use crate::{Event, Ticket, local, plain};

/// The type of a pass.
pub const PASS: &str = "application/vnd.apple.pkpass";
/// The type of a file of several passes.
pub const PASSES: &str = "application/vnd.apple.pkpasses";
/// How many passes Wallet takes in one file.
pub const MOST: usize = 10;

const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
const USER_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1");

/// The pictures of every pass: a plain ticket.
const PICTURES: [(&str, &[u8]); 6] = [
    ("icon.png", include_bytes!("../assets/icon.png")),
    ("icon@2x.png", include_bytes!("../assets/icon@2x.png")),
    ("icon@3x.png", include_bytes!("../assets/icon@3x.png")),
    ("logo.png", include_bytes!("../assets/logo.png")),
    ("logo@2x.png", include_bytes!("../assets/logo@2x.png")),
    ("logo@3x.png", include_bytes!("../assets/logo@3x.png")),
];

/// Why there is no pass. Nothing of the key is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the {0} is not a certificate in PEM")]
    Pem(&'static str),
    #[error(transparent)]
    Key(#[from] rsa::Error),
    #[error("the private key does not belong to the certificate")]
    OtherKey,
    #[error("the certificate is not that of a pass type: its subject has no {0}")]
    NotForPasses(&'static str),
    #[error("the intermediate certificate has not issued the certificate")]
    OtherIssuer,
    #[error("the certificate has expired on {0}")]
    Expired(DateTime<Utc>),
    #[error("{0} passes are more than one file may have")]
    TooMany(usize),
    #[error("ASN.1: {0}")]
    Der(#[from] der::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("ZIP: {0}")]
    Zip(#[from] ZipError),
    #[error("ZIP: {0}")]
    Write(#[from] std::io::Error),
}

/// Signs passes with the certificate of a pass type.
pub struct Signer {
    key: Key,
    certificate: Certificate,
    intermediate: Certificate,
    pass_type: String,
    team: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pass_type, team, .. } = self;
        write!(f, "Signer {{ {pass_type}, {team}, expires {} }}", self.expires())
    }
}

impl Signer {
    /// `certificate` is that of the pass type, `key` its private key (PKCS#8 or PKCS#1, not
    /// encrypted), and `intermediate` the certificate of Apple that has issued it (WWDR, of the
    /// same generation). All are PEM. The identifiers of pass type and team are read from the
    /// certificate's subject.
    pub fn new(certificate: &str, key: &SecretString, intermediate: &str) -> Result<Self, Error> {
        let certificate = read(certificate).ok_or(Error::Pem("certificate"))?;
        let intermediate = read(intermediate).ok_or(Error::Pem("intermediate certificate"))?;
        let key = Key::from_pem(key)?;
        let signed = &certificate.tbs_certificate;
        if signed.subject_public_key_info.subject_public_key.raw_bytes() != key.public() {
            return Err(Error::OtherKey);
        }
        if signed.issuer != intermediate.tbs_certificate.subject {
            return Err(Error::OtherIssuer);
        }
        let named = |oid| {
            let mut parts = signed.subject.0.iter().flat_map(|part| part.0.iter());
            let value = &parts.find(|part| part.oid == oid)?.value;
            Some(str::from_utf8(value.value()).ok()?.to_owned())
        };
        Ok(Self {
            pass_type: named(USER_ID).ok_or(Error::NotForPasses("UID"))?,
            team: named(ORGANIZATIONAL_UNIT).ok_or(Error::NotForPasses("OU"))?,
            key,
            certificate,
            intermediate,
        })
    }

    /// When the certificate does. Passes that are in a wallet by then stay valid.
    pub fn expires(&self) -> DateTime<Utc> {
        let validity = self.certificate.tbs_certificate.validity;
        DateTime::UNIX_EPOCH + validity.not_after.to_unix_duration()
    }

    /// A pass.
    pub fn pass(
        &self,
        event: &Event,
        ticket: &Ticket,
        terms: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<u8>, Error> {
        if now >= self.expires() {
            return Err(Error::Expired(self.expires()));
        }
        let pass = serde_json::to_vec(&self.describe(event, ticket, terms))?;
        let mut files = vec![("pass.json", pass.as_slice())];
        files.extend(PICTURES);
        let hash = |file| HEXLOWER.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, file).as_ref());
        let manifest: BTreeMap<_, _> =
            files.iter().map(|(name, file)| (name, hash(file))).collect();
        let manifest = serde_json::to_vec(&manifest)?;
        let signature = self.signature(&manifest, now)?;
        files.extend([("manifest.json", manifest.as_slice()), ("signature", &signature)]);
        zipped(files)
    }

    /// Several passes in one file, at most [`MOST`].
    pub fn passes(
        &self,
        event: &Event,
        tickets: &[Ticket],
        terms: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<u8>, Error> {
        if tickets.len() > MOST {
            return Err(Error::TooMany(tickets.len()));
        }
        // Numbers may be the same without the letters that names of files have not.
        let pass = |(index, ticket): (usize, &Ticket)| {
            let name = format!("{}-{}.pkpass", index + 1, plain(&ticket.number));
            Ok((name, self.pass(event, ticket, terms, now)?))
        };
        zipped(tickets.iter().enumerate().map(pass).collect::<Result<Vec<_>, Error>>()?)
    }

    /// The content of `pass.json`.
    fn describe(&self, event: &Event, ticket: &Ticket, terms: &str) -> Value {
        let organizer = event.organizer.as_ref().unwrap_or(&event.name);
        let venue = event.venue.as_ref().unwrap_or(&event.location);
        let (starts, ends) = (local(event.starts), local(event.ends));
        // Some events last longer than planned.
        let over = event.ends.checked_add_days(Days::new(1)).unwrap_or(event.ends);
        let mut pass = json!({
            "formatVersion": 1,
            "passTypeIdentifier": self.pass_type,
            "teamIdentifier": self.team,
            "serialNumber": ticket.number,
            "groupingIdentifier": format!("event-{}", event.id),
            "organizationName": organizer,
            "description": format!("Ticket for {}", event.name),
            "foregroundColor": "rgb(0, 0, 0)",
            "backgroundColor": "rgb(255, 255, 255)",
            "labelColor": "rgb(84, 93, 97)",
            // Before iOS 18, and since.
            "relevantDate": starts,
            "relevantDates": [{ "date": starts }],
            "expirationDate": local(over),
            // It admits one.
            "sharingProhibited": true,
            "barcodes": [{
                "format": "PKBarcodeFormatQR",
                "message": ticket.code,
                "messageEncoding": "iso-8859-1",
                "altText": ticket.number,
            }],
            "eventTicket": {
                "primaryFields": fields([("event", "Event", Some(event.name.as_str()))]),
                "secondaryFields": [
                    {
                        "key": "starts",
                        "label": "Starts",
                        // In the buyer's language, and at the event's time wherever the buyer is.
                        "value": starts,
                        "dateStyle": "PKDateStyleMedium",
                        "timeStyle": "PKDateStyleShort",
                        "ignoresTimeZone": true,
                    },
                    { "key": "venue", "label": "Venue", "value": venue },
                ],
                "auxiliaryFields": fields([
                    ("seat", "Seat", Some(ticket.seat.as_str())),
                    ("type", "Type", Some(&ticket.seat_type)),
                    ("holder", "Ticket holder", ticket.holder.as_deref()),
                ]),
                "backFields": fields([
                    ("when", "When", Some(event.when.as_str())),
                    ("location", "Where", Some(&event.location)),
                    ("booking", "Booking", Some(&ticket.reference)),
                    ("price", "Price", Some(&ticket.price)),
                    ("organizer", "Organiser", event.organizer.as_deref()),
                    ("terms", "Terms", Some(terms)),
                ]),
            },
            "semantics": {
                "eventName": event.name,
                "eventStartDate": starts,
                "eventEndDate": ends,
                "venueName": venue,
                "seats": [{ "seatNumber": ticket.seat, "seatType": ticket.seat_type }],
            },
        });
        if let Some(organizer) = &event.organizer {
            pass["logoText"] = organizer.as_str().into();
        }
        pass
    }

    /// A detached signature (RFC 5652), DER.
    fn signature(&self, content: &[u8], now: DateTime<Utc>) -> Result<Vec<u8>, Error> {
        let signer = &self.certificate.tbs_certificate;
        let sha_256 = AlgorithmIdentifierOwned { oid: SHA_256, parameters: None };
        let content_digest = OctetString::new(digest(&SHA256, content).as_ref())?;
        let signed_attributes = SetOfVec::try_from(vec![
            attribute(CONTENT_TYPE, &DATA)?,
            attribute(MESSAGE_DIGEST, &content_digest)?,
            attribute(SIGNING_TIME, &time(now)?)?,
        ])?;
        let signature = self.key.sign(&signed_attributes.to_der()?)?;
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: signer.issuer.clone(),
                serial_number: signer.serial_number.clone(),
            }),
            digest_alg: sha_256.clone(),
            signed_attrs: Some(signed_attributes),
            signature_algorithm: AlgorithmIdentifierOwned {
                oid: RSA_ENCRYPTION,
                parameters: Some(Null.into()),
            },
            signature: OctetString::new(signature)?,
            unsigned_attrs: None,
        };
        let chain = [&self.certificate, &self.intermediate];
        let chain = chain.map(|certificate| CertificateChoices::Certificate(certificate.clone()));
        let signed = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::try_from(vec![sha_256])?,
            encap_content_info: EncapsulatedContentInfo { econtent_type: DATA, econtent: None },
            certificates: Some(CertificateSet(SetOfVec::try_from(chain.to_vec())?)),
            crls: None,
            signer_infos: SignerInfos(SetOfVec::try_from(vec![signer])?),
        };
        let content = Any::encode_from(&signed)?;
        Ok(ContentInfo { content_type: SIGNED_DATA, content }.to_der()?)
    }
}

fn read(pem: &str) -> Option<Certificate> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Certificate::from_der(&der).ok()
}

/// Those that have a value.
fn fields<const N: usize>(fields: [(&str, &str, Option<&str>); N]) -> Value {
    let fields = fields.into_iter().filter_map(|(key, label, value)| {
        let value = value.filter(|value| !value.is_empty())?;
        Some(json!({ "key": key, "label": label, "value": value }))
    });
    fields.collect()
}

fn attribute(
    oid: ObjectIdentifier,
    value: &(impl EncodeValue + Tagged),
) -> Result<Attribute, der::Error> {
    let values = SetOfVec::try_from(vec![Any::encode_from(value)?])?;
    Ok(Attribute { oid, values })
}

/// Up to 2049 with a year of two digits, as RFC 5652 wants it.
fn time(time: DateTime<Utc>) -> Result<Time, der::Error> {
    let time = SystemTime::from(time);
    let with_four = |_| GeneralizedTime::from_system_time(time).map(Time::from);
    UtcTime::from_system_time(time).map(Time::from).or_else(with_four)
}

/// A ZIP file. Pictures are compressed already, and the rest is small, so that nothing is.
fn zipped<Name: ToString, File: AsRef<[u8]>>(
    files: impl IntoIterator<Item = (Name, File)>,
) -> Result<Vec<u8>, Error> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, file) in files {
        zip.start_file(name, SimpleFileOptions::default())?;
        zip.write_all(file.as_ref())?;
    }
    Ok(zip.finish()?.into_inner())
}
