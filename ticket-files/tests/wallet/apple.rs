use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use chrono::{TimeDelta, TimeZone, Utc};
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier};
use data_encoding::HEXLOWER;
use der::asn1::{ObjectIdentifier, OctetString, UtcTime};
use der::{Decode, Encode};
use nexus_ticket_files::apple::{Error, Signer};
use nexus_ticket_files::rsa;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use secrecy::SecretString;
use serde_json::{Value, json};
use zip::ZipArchive;

use crate::{event, fixture, now, ticket};

const TERMS: &str = "No refunds within a day.\nNo umbrellas.";

fn signer() -> Signer {
    new("pass.pem", "pass.key", "intermediate.pem").unwrap()
}

fn new(certificate: &str, key: &str, intermediate: &str) -> Result<Signer, Error> {
    let key = SecretString::from(fixture(key));
    Signer::new(&fixture(certificate), &key, &fixture(intermediate))
}

fn unpacked(file: Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(file)).unwrap();
    let mut files = BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        let name = file.name().unwrap().into_owned();
        assert_eq!(files.insert(name, content), None, "a name twice");
    }
    files
}

#[test]
fn the_manifest_has_the_hash_of_every_file() {
    let mut files = unpacked(signer().pass(&event(), &ticket("A1"), TERMS, now()).unwrap());
    let manifest = files.remove("manifest.json").unwrap();
    files.remove("signature").unwrap();
    let manifest: BTreeMap<String, String> = serde_json::from_slice(&manifest).unwrap();
    let hash = |file: &Vec<u8>| digest(&SHA1_FOR_LEGACY_USE_ONLY, file);
    let hashes =
        files.iter().map(|(name, file)| (name.clone(), HEXLOWER.encode(hash(file).as_ref())));
    assert_eq!(manifest, hashes.collect());

    for (name, points) in [("icon", 29), ("logo", 50)] {
        for (suffix, scale) in [("", 1), ("@2x", 2), ("@3x", 3)] {
            let picture = Cursor::new(&files[&format!("{name}{suffix}.png")]);
            let mut picture = png::Decoder::new(picture).read_info().unwrap();
            let mut pixels = vec![0; picture.output_buffer_size().unwrap()];
            let frame = picture.next_frame(&mut pixels).unwrap();
            assert_eq!((frame.width, frame.height), (points * scale, points * scale), "{name}");
        }
    }
    assert_eq!(files.len(), 7, "the pictures and pass.json");
}

#[test]
fn the_manifest_is_signed() {
    // With either form of the key, and in either form of the time.
    for (key, year) in [("pass.key", 2031), ("pass.pkcs1.key", 2060)] {
        let now = Utc.with_ymd_and_hms(year, 4, 1, 12, 0, 0).unwrap();
        let signer = new("pass.pem", key, "intermediate.pem").unwrap();
        let files = unpacked(signer.pass(&event(), &ticket("A1"), TERMS, now).unwrap());
        let content = ContentInfo::from_der(&files["signature"]).unwrap();
        assert_eq!(content.content_type.to_string(), "1.2.840.113549.1.7.2");
        let signed: SignedData = content.content.decode_as().unwrap();
        assert_eq!(signed.encap_content_info.econtent, None, "detached");

        let mut certificates = Vec::new();
        for certificate in signed.certificates.unwrap().0.iter() {
            let CertificateChoices::Certificate(certificate) = certificate else { panic!() };
            certificates.push(certificate.clone());
        }
        let [info] = signed.signer_infos.0.as_slice() else { panic!("one signer") };
        let SignerIdentifier::IssuerAndSerialNumber(id) = &info.sid else { panic!() };
        let index = certificates
            .iter()
            .position(|one| one.tbs_certificate.serial_number == id.serial_number)
            .unwrap();
        let certificate = certificates.remove(index).tbs_certificate;
        assert_eq!(certificate.issuer, id.issuer);
        assert_eq!(certificates.len(), 1);
        assert_eq!(certificates[0].tbs_certificate.subject, id.issuer);

        let attributes = info.signed_attrs.as_ref().unwrap();
        let attribute = |oid: &str| {
            let oid = ObjectIdentifier::new_unwrap(oid);
            let one = attributes.iter().find(|attribute| attribute.oid == oid).unwrap();
            assert_eq!(one.values.len(), 1);
            one.values.get(0).unwrap()
        };
        let content_type: ObjectIdentifier = attribute("1.2.840.113549.1.9.3").decode_as().unwrap();
        assert_eq!(content_type, signed.encap_content_info.econtent_type);
        let message_digest: OctetString = attribute("1.2.840.113549.1.9.4").decode_as().unwrap();
        assert_eq!(message_digest.as_bytes(), digest(&SHA256, &files["manifest.json"]).as_ref());
        let time = attribute("1.2.840.113549.1.9.5");
        match year {
            2031 => {
                let time: UtcTime = time.decode_as().unwrap();
                assert_eq!(time.to_unix_duration().as_secs(), now.timestamp().unsigned_abs());
            }
            _ => assert_eq!(time.value(), b"20600401120000Z"),
        }

        let key = certificate.subject_public_key_info.subject_public_key;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.raw_bytes())
            .verify(&attributes.to_der().unwrap(), info.signature.as_bytes())
            .unwrap();
    }
}

#[test]
fn a_pass_says_what_the_ticket_does() {
    let files = unpacked(signer().pass(&event(), &ticket("A1"), TERMS, now()).unwrap());
    let pass: Value = serde_json::from_slice(&files["pass.json"]).unwrap();
    assert_eq!(pass["passTypeIdentifier"], "pass.example.nexus");
    assert_eq!(pass["teamIdentifier"], "TESTSONLY1");
    assert_eq!(pass["serialNumber"], "TKT-BKG-2031-0401-101500-7F3A-A1");
    assert_eq!(pass["organizationName"], "Nexus Live");
    assert_eq!(pass["relevantDate"], "2031-05-01T18:00:00+05:30");
    assert_eq!(pass["expirationDate"], "2031-05-02T22:30:00+05:30");
    assert_eq!(pass["barcodes"][0]["message"], ticket("A1").code);
    let ticket_pass = &pass["eventTicket"];
    assert_eq!(ticket_pass["primaryFields"][0]["value"], event().name);
    assert_eq!(
        ticket_pass["secondaryFields"][0],
        json!({
            "key": "starts",
            "label": "Starts",
            "value": "2031-05-01T18:00:00+05:30",
            "dateStyle": "PKDateStyleMedium",
            "timeStyle": "PKDateStyleShort",
            "ignoresTimeZone": true,
        }),
    );
    assert_eq!(ticket_pass["secondaryFields"][1]["value"], "Rang Mandir");
    assert_eq!(ticket_pass["auxiliaryFields"][2]["value"], "Asha Rao");
    assert_eq!(ticket_pass["backFields"][5]["value"], TERMS);

    // Without what an event and a ticket may lack.
    let mut event = event();
    (event.venue, event.organizer) = (None, None);
    let mut ticket = ticket("A1");
    ticket.holder = None;
    let files = unpacked(signer().pass(&event, &ticket, TERMS, now()).unwrap());
    let pass: Value = serde_json::from_slice(&files["pass.json"]).unwrap();
    assert!(!pass.to_string().contains("null"));
    assert_eq!(pass["organizationName"], event.name);
    assert_eq!(pass["eventTicket"]["secondaryFields"][1]["value"], event.location);
    assert_eq!(pass["eventTicket"]["auxiliaryFields"].as_array().unwrap().len(), 2);
}

#[test]
fn passes_are_a_file_of_passes() {
    let tickets = ["A1", "../B2", "अ", "आ"].map(ticket);
    let files = unpacked(signer().passes(&event(), &tickets, TERMS, now()).unwrap());
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let number = "TKT-BKG-2031-0401-101500-7F3A";
    let expected = ["1-A1", "2-..-B2", "3--", "4--"].map(|name| {
        let (nth, seat) = name.split_once('-').unwrap();
        format!("{nth}-{number}-{seat}.pkpass")
    });
    assert_eq!(names, expected);
    for pass in files.into_values() {
        assert!(unpacked(pass).contains_key("signature"));
    }
    let many = vec![ticket("A1"); 11];
    let error = signer().passes(&event(), &many, TERMS, now()).unwrap_err();
    assert!(matches!(error, Error::TooMany(11)), "{error}");
}

#[test]
fn a_signer_is_of_things_that_belong_together() {
    let error = |certificate, key, intermediate| new(certificate, key, intermediate).unwrap_err();
    let another = "intermediate.pem";
    assert!(matches!(error(another, "pass.key", another), Error::OtherKey));
    assert!(matches!(error("pass.pem", "pass.key", "pass.pem"), Error::OtherIssuer));
    assert!(matches!(error("pass.key", "pass.key", another), Error::Pem("certificate")));
    let wrong = error("pass.pem", "pass.pem", another);
    assert!(matches!(wrong, Error::Key(rsa::Error::NotRsa)), "{wrong}");

    let signer = signer();
    let late = signer.expires() + TimeDelta::seconds(1);
    assert_eq!(signer.expires().format("%Y").to_string(), "2126");
    let error = signer.pass(&event(), &ticket("A1"), TERMS, late).unwrap_err();
    assert!(matches!(error, Error::Expired(_)), "{error}");
}

#[test]
fn a_signer_does_not_tell_its_key() {
    let debug = format!("{:?}", signer());
    assert_eq!(
        debug,
        format!("Signer {{ pass.example.nexus, TESTSONLY1, expires {} }}", signer().expires()),
    );
}
