//! What is put into the files that buyers get with their tickets, and what signs them.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use nexus_ticket_files::{apple, google};

use super::Env;

/// The conditions on a ticket, unless TEMPLATES_DIR has others.
const TERMS: &str = include_str!("terms.txt");

/// The longest text that one page has room for.
const MOST_TERMS: usize = 3_000;

fn templates(env: &mut Env) -> Option<PathBuf> {
    let folder = PathBuf::from(env.get("TEMPLATES_DIR")?);
    if !folder.is_dir() {
        env.problem("TEMPLATES_DIR is not a folder that can be read");
        return None;
    }
    Some(folder)
}

/// What tickets are made with, besides their data.
#[derive(Clone, Debug)]
pub struct TicketFiles {
    /// TEMPLATES_DIR: a folder whose files are used in the place of the built-in ones of their
    /// names.
    pub templates: Option<PathBuf>,
    /// `terms.txt` in TEMPLATES_DIR: what a buyer has to know, on every ticket.
    pub terms: String,
    /// APPLE_PASS_CERTIFICATE_FILE, APPLE_PASS_KEY_FILE and APPLE_WWDR_CERTIFICATE_FILE; without
    /// them, there are no passes for Apple Wallet.
    pub apple: Option<Arc<apple::Signer>>,
    /// GOOGLE_WALLET_ISSUER_ID and GOOGLE_WALLET_ACCOUNT_FILE; without them, there are no links to
    /// Google Wallet.
    pub google: Option<Arc<google::Issuer>>,
}

impl TicketFiles {
    /// Reads the group, and the files that it names.
    pub fn from_env(env: &mut Env) -> Self {
        let templates = templates(env);
        let terms = terms(env, templates.as_deref());
        TicketFiles { templates, terms, apple: apple(env), google: google(env) }
    }
}

fn terms(env: &mut Env, templates: Option<&Path>) -> String {
    let Some(path) = templates.map(|folder| folder.join("terms.txt")) else {
        return TERMS.to_owned();
    };
    match fs::read_to_string(&path) {
        Ok(terms) if terms.chars().count() <= MOST_TERMS => terms,
        Err(error) if error.kind() == ErrorKind::NotFound => TERMS.to_owned(),
        Ok(_) => {
            env.problem(format!(
                "terms.txt in TEMPLATES_DIR has more than {MOST_TERMS} characters"
            ));
            String::new()
        }
        Err(error) => {
            env.problem(format!("terms.txt in TEMPLATES_DIR cannot be read: {error}"));
            String::new()
        }
    }
}

fn apple(env: &mut Env) -> Option<Arc<apple::Signer>> {
    const NAMES: [&str; 3] =
        ["APPLE_PASS_CERTIFICATE_FILE", "APPLE_PASS_KEY_FILE", "APPLE_WWDR_CERTIFICATE_FILE"];
    let [certificate, key, intermediate] = NAMES.map(|name| env.file(name));
    if env.listing || [&certificate, &key, &intermediate].iter().all(|file| file.is_none()) {
        return None;
    }
    let (Some(certificate), Some(key), Some(intermediate)) = (certificate, key, intermediate)
    else {
        env.problem(format!("{} go together", NAMES.join(", ")));
        return None;
    };
    match apple::Signer::new(&certificate, &key.into(), &intermediate) {
        Ok(signer) => {
            // Nothing else stops with it.
            if signer.expires() < chrono::Utc::now() + chrono::Days::new(30) {
                env.warning(format!(
                    "APPLE_PASS_CERTIFICATE_FILE expires on {}; from then on there are no passes",
                    signer.expires()
                ));
            }
            Some(Arc::new(signer))
        }
        Err(error) => {
            env.problem(format!("{}: {error}", NAMES.join(", ")));
            None
        }
    }
}

fn google(env: &mut Env) -> Option<Arc<google::Issuer>> {
    const NAMES: [&str; 2] = ["GOOGLE_WALLET_ISSUER_ID", "GOOGLE_WALLET_ACCOUNT_FILE"];
    let (id, account) = (env.get(NAMES[0]), env.file(NAMES[1]));
    if env.listing || (id.is_none() && account.is_none()) {
        return None;
    }
    let (Some(id), Some(account)) = (id, account) else {
        env.problem(format!("{} go together", NAMES.join(", ")));
        return None;
    };
    match google::Issuer::new(&id, &account.into()) {
        Ok(issuer) => Some(Arc::new(issuer)),
        Err(error) => {
            env.problem(format!("{}: {error}", NAMES.join(", ")));
            None
        }
    }
}
