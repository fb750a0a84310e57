use chrono::TimeDelta;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use nexus_ticket_files::google::{Error, Issuer};
use nexus_ticket_files::{Event, Ticket, rsa};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{event, fixture, now, ticket};

const ID: &str = "3388000000012345678";

fn issuer() -> Issuer {
    Issuer::new(ID, &fixture("account.json").into()).unwrap()
}

/// The claims of a link whose signature is right.
fn claims(event: &Event, ticket: &Ticket) -> Value {
    let link = issuer().link(event, ticket, now()).unwrap();
    let jwt = link.strip_prefix("https://pay.google.com/gp/v/save/").unwrap();

    let (message, signature) = jwt.rsplit_once('.').unwrap();
    let public = fixture("account.pub");
    let public: String = public.lines().filter(|line| !line.starts_with("-----")).collect();
    let public = BASE64.decode(public.as_bytes()).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
        .verify(message.as_bytes(), &BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap())
        .unwrap();

    let part = |part: &str| -> Value {
        serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
    };
    let (header, claims) = message.split_once('.').unwrap();
    assert_eq!(part(header), json!({ "alg": "RS256", "typ": "JWT" }));
    part(claims)
}

#[test]
fn a_link_says_what_the_ticket_does() {
    let claims = claims(&event(), &ticket("A1"));
    assert_eq!(claims["iss"], "tickets@only-for-tests.iam.gserviceaccount.com");
    assert_eq!((&claims["aud"], &claims["typ"]), (&json!("google"), &json!("savetowallet")));
    assert_eq!(claims["iat"], now().timestamp());
    assert_eq!(claims["origins"], json!([]));
    let text = |value: &str| json!({ "defaultValue": { "language": "en", "value": value } });

    let class = &claims["payload"]["eventTicketClasses"][0];
    assert!(class["id"].as_str().unwrap().starts_with(&format!("{ID}.event-7-")), "{class}");
    assert_eq!(class["eventName"], text(&event().name));
    assert_eq!(class["venue"]["address"], text("12 MG Road, Bengaluru"));
    assert_eq!(class["dateTime"]["start"], "2031-05-01T18:00:00+05:30");

    let object = &claims["payload"]["eventTicketObjects"][0];
    assert_eq!(object["classId"], class["id"]);
    assert_eq!(object["barcode"]["value"], ticket("A1").code);
    assert_eq!(object["ticketHolderName"], "Asha Rao");
    assert_eq!(object["seatInfo"]["seat"], text("A1 (VIP)"));
    assert_eq!(object["barcode"]["alternateText"], ticket("A1").number);
}

#[test]
fn a_link_of_short_texts_is_safe_in_every_browser() {
    let event = Event { name: "Monsoon Nights".to_owned(), ..event() };
    let link = issuer().link(&event, &ticket("A1"), now()).unwrap();
    let (_, jwt) = link.rsplit_once('/').unwrap();
    assert!(jwt.len() <= 1800, "{} characters", jwt.len());
}

/// Google would keep what it has.
#[test]
fn what_has_changed_has_another_id() {
    let ids = |event: &Event, ticket: &Ticket| {
        let payload = &claims(event, ticket)["payload"];
        ["eventTicketClasses", "eventTicketObjects"]
            .map(|name| payload[name][0]["id"].as_str().unwrap().to_owned())
    };
    let (mut event, mut ticket) = (event(), ticket("A/1"));
    let [class, object] = ids(&event, &ticket);
    assert!(object.starts_with(&format!("{ID}.TKT-BKG-2031-0401-101500-7F3A-A-1-")), "{object}");
    assert_eq!(ids(&event, &ticket), [class.clone(), object.clone()]);

    ticket.code.push('B');
    let [same, reissued] = ids(&event, &ticket);
    assert_eq!(same, class);
    assert_ne!(reissued, object);

    event.starts += TimeDelta::days(1);
    let [put_off, later] = ids(&event, &ticket);
    assert_ne!(put_off, class);
    assert_ne!(later, reissued);
}

#[test]
fn an_issuer_is_of_a_number_and_a_key_file() {
    let new = |id: &str, account: &str| {
        Issuer::new(id, &SecretString::from(account.to_owned())).unwrap_err()
    };
    let account = fixture("account.json");
    assert!(matches!(new("", &account), Error::Issuer));
    assert!(matches!(new("12.34", &account), Error::Issuer));
    assert!(matches!(new(ID, "{"), Error::Account));
    assert!(matches!(new(ID, r#"{"client_email":"a@b.example"}"#), Error::Account));
    let public = json!({ "client_email": "a@b.example", "private_key": fixture("account.pub") });
    let error = new(ID, &public.to_string());
    assert!(matches!(error, Error::Key(rsa::Error::NotRsa)), "{error}");
}

#[test]
fn an_issuer_does_not_tell_its_key() {
    let debug = format!("{:?}", issuer());
    assert_eq!(debug, format!("Issuer {{ {ID}, tickets@only-for-tests.iam.gserviceaccount.com }}"));
}
