//! Password hashing: Argon2id for new hashes, bcrypt for those of the Node service
//! (docs/contract.md#existing-data). Hashing never runs on the async threads; only a few hashes run
//! at once, because each takes a core and 19 MiB, which its thread keeps for the next one; and the
//! queue is short, so that in a flood of logins most are refused at once.
//!
//! A password is hashed in one Unicode form, NFC (RFC 8265), because keyboards differ in how they
//! write the same letters. Older hashes are of passwords as they were typed, and a hash cannot be
//! normalised: a password that does not match in NFC is tried as typed, where that differs.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        mpsc::{Sender, channel},
    },
    thread,
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{
        self, PasswordHasher,
        phc::{Output, ParamsString, PasswordHash, Salt},
    },
};
use tokio::sync::{Semaphore, oneshot};
use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Result};

/// OWASP's parameters: 19 MiB, 2 passes, 1 lane. Hashes that were made with others are replaced at
/// their owner's next login.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The longest password, in bytes; registration allows 128 characters. Longer ones are not even
/// hashed.
const LONGEST: usize = 1024;
/// How many passwords may wait for each one that is being hashed: about two seconds' work. Further
/// logins are refused, and may try again.
const WAITING: usize = 32;

static QUEUE: LazyLock<Queue> =
    LazyLock::new(|| Queue::new(thread::available_parallelism().map_or(2, usize::from)));

type Task = Box<dyn FnOnce() + Send>;

/// Threads that hash, one per core, and the callers that wait for them. They are not the runtime's
/// threads, of which there are many: each thread that hashes keeps its memory.
struct Queue {
    places: Semaphore,
    tasks: Sender<Task>,
}

impl Queue {
    fn new(threads: usize) -> Self {
        let (tasks, inbox) = channel::<Task>();
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..threads {
            let inbox = inbox.clone();
            thread::spawn(move || {
                loop {
                    let next = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(task) = next else { return };
                    // A panic ends the task, not the thread; its caller is told.
                    let _ = catch_unwind(AssertUnwindSafe(task));
                }
            });
        }
        Queue { places: Semaphore::new(threads * (1 + WAITING)), tasks }
    }

    async fn run<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let place = self.places.try_acquire().map_err(|_| Error::overloaded())?;
        let (reply, replied) = oneshot::channel();
        let task = move || {
            // Given back when the work is done: hashing goes on even if the client hangs up.
            let _place = place;
            if !reply.is_closed() {
                let _ = reply.send(work());
            }
        };
        self.tasks
            .send(Box::new(task))
            .map_err(|_| Error::internal("there are no threads to hash"))?;
        replied.await.map_err(Error::internal)
    }
}

/// Hashes that no password matches, compared where there is no hash of that kind.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| argon2_hash("nobody has this password").unwrap_or_default());
/// Has the cost that the Node service hashed with. Stored ready-made, because Nexus makes no bcrypt
/// hashes.
const BCRYPT_NOBODY: &str = "$2b$10$xJ2hRMRdkGWDbhCeHJo92e58xXBVtOF.4utv05u8XQEr/KAQJkrhK";

/// The result of comparing a password.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not the password.
    Wrong,
    /// The password matches, and the stored hash is as we make it.
    Right,
    /// The password matches; the stored hash is bcrypt, or was made with other parameters, and
    /// should be replaced by this one.
    RightRehash(String),
}

/// An Argon2id hash of `password`, as a PHC string. [`Error::Overloaded`] when too many callers
/// wait.
pub async fn hash(password: String) -> Result<String> {
    QUEUE.run(move || argon2_hash(&normalised(&password))).await?
}

/// Of a longer password only the beginning is looked at: to think of all ways in which it can be
/// made up takes longer the longer it is.
const LOOKED_AT: usize = 24;
/// Who tries so many passwords in the best order gets the common ones, and those that are made of
/// them, of dates, names or neighbours on the keyboard.
const GUESSES: u64 = 10_000;

/// What a rule for passwords has people add to a word: a year and a sign, `@1234`. More of it is worth
/// something.
const ADDED: usize = 6;
/// The shortest word that counts.
const WORD: usize = 3;
/// What the product is called everywhere.
const PRODUCT: &str = "nexus";

/// Whether `password` is among the first that somebody would try who guesses, and knows these words
/// of its owner and of the site. It takes a millisecond, and waits for no hashes.
pub async fn is_guessable(password: String, about: Vec<String>) -> Result<bool> {
    let looked = tokio::task::spawn_blocking(move || guessable(&password, &about));
    looked.await.map_err(Error::internal)
}

fn guessable(password: &str, about: &[String]) -> bool {
    let beginning: String = password.chars().take(LOOKED_AT).collect();
    let words = words(about);
    let known: Vec<&str> = about.iter().chain(&words).map(String::as_str).collect();
    zxcvbn::zxcvbn(&beginning, &known).guesses() < GUESSES || is_made_of(&words, &beginning)
}

/// The words of which these texts are made, the longest first. Of a phone number also the digits
/// without the country's code.
fn words(about: &[String]) -> Vec<String> {
    let about = about.iter().map(String::as_str).chain([PRODUCT]);
    let whole = about.flat_map(|text| {
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() >= WORD)
    });
    let mut words: Vec<String> = whole.map(str::to_lowercase).collect();
    let national = |word: &String| {
        let is_phone = word.len() > 10 && word.bytes().all(|byte| byte.is_ascii_digit());
        is_phone.then(|| word[word.len() - 10..].to_owned())
    };
    words.extend(words.iter().filter_map(national).collect::<Vec<_>>());
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words
}

/// Whether the password is nothing but these words, with capitals, digits in place of letters, and a
/// few digits and signs before and after. `Password1!` is not looked at so: the contract's clients
/// set its like (docs/contract.md#change-61), and breaches have it.
fn is_made_of(words: &[String], password: &str) -> bool {
    let without = |text: String| words.iter().fold(text, |text, word| text.replace(word, ""));
    let lower = password.to_lowercase();
    let strange = without(lower.clone());
    let core = strange.trim_matches(|c: char| !c.is_alphabetic());
    if strange.chars().count() - core.chars().count() > ADDED {
        return false;
    }
    let plain: String = core.chars().map(letter).collect();
    let own = without(plain.clone());
    let is_known = strange.len() < lower.len() || own.len() < plain.len();
    is_known && own.chars().filter(|c| c.is_alphabetic()).count() < WORD
}

/// The letter for which people write this.
fn letter(c: char) -> char {
    match c {
        '@' | '4' => 'a',
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '$' | '5' => 's',
        '7' => 't',
        c => c,
    }
}

/// Compares `password` with a stored hash, or with a dummy when there is none.
/// [`Error::Overloaded`] when too many callers wait.
pub async fn verify(password: String, stored: Option<String>) -> Result<Verdict> {
    if password.len() > LONGEST {
        return Ok(Verdict::Wrong);
    }
    QUEUE.run(move || compare(&password, stored.as_deref(), &mut Work::default())).await?
}

/// The hashing that a comparison has cost.
#[derive(Debug, Default, PartialEq, Eq)]
struct Work {
    argon2: u32,
    bcrypt: u32,
}

fn compare(typed: &str, stored: Option<&str>, work: &mut Work) -> Result<Verdict> {
    let password = normalised(typed);
    let matched = match matches(&password, stored, work) {
        None if password != typed => matches(typed, stored, work).map(|_| false),
        matched => matched,
    };
    match matched {
        None => Ok(Verdict::Wrong),
        Some(true) => Ok(Verdict::Right),
        Some(false) => Ok(Verdict::RightRehash(argon2_hash(&password)?)),
    }
}

fn normalised(password: &str) -> String {
    password.nfc().collect()
}

/// Whether the password matches, and if so, whether the hash is as we make it. Every failure costs
/// one Argon2id and one bcrypt, whether or not the account exists and however its password is
/// hashed: the response time reveals nothing. Success costs no more than it must; a user who
/// succeeds knows that the account exists.
fn matches(password: &str, stored: Option<&str>, work: &mut Work) -> Option<bool> {
    match stored {
        Some(stored) if stored.starts_with("$2") => {
            if bcrypt_matches(password, stored, work) {
                return Some(false);
            }
            argon2_matches(password, &NOBODY, work);
        }
        Some(stored) => {
            if let Some(current) = argon2_matches(password, stored, work) {
                return Some(current);
            }
            bcrypt_matches(password, BCRYPT_NOBODY, work);
        }
        None => {
            argon2_matches(password, &NOBODY, work);
            bcrypt_matches(password, BCRYPT_NOBODY, work);
        }
    }
    None
}

/// bcrypt looks at 72 bytes; npm's bcrypt truncates, too.
fn bcrypt_matches(password: &str, stored: &str, work: &mut Work) -> bool {
    work.bcrypt += 1;
    bcrypt::verify(&password.as_bytes()[..password.len().min(72)], stored).unwrap_or(false)
}

/// Whether the password matches, and if so, whether the hash has today's parameters.
fn argon2_matches(password: &str, stored: &str, work: &mut Work) -> Option<bool> {
    work.argon2 += 1;
    let hash = PasswordHash::new(stored).ok()?;
    // With the parameters that the hash names.
    let params = Params::try_from(&hash).ok()?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = hash.version.map(Version::try_from).transpose().ok()?.unwrap_or_default();
    let hasher = Hasher { algorithm, version, params: params.clone() };
    let computed = hasher.hash_password_with_salt(password.as_bytes(), hash.salt.as_ref()?).ok()?;
    // Compares in constant time.
    hash.hash.zip(computed.hash).filter(|(stored, computed)| stored == computed)?;
    let made_with = (hash.algorithm.as_str(), params.m_cost(), params.t_cost(), params.p_cost());
    Some(made_with == (Algorithm::Argon2id.as_str(), MEMORY_KIB, PASSES, LANES))
}

fn argon2_hash(password: &str) -> Result<String> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|e| Error::internal(e.to_string()))?;
    let hasher = Hasher { algorithm: Algorithm::Argon2id, version: Version::V0x13, params };
    // The salt comes from the operating system.
    let hash =
        hasher.hash_password(password.as_bytes()).map_err(|e| Error::internal(e.to_string()))?;
    Ok(hash.to_string())
}

thread_local! {
    /// What a hash fills. Given to the allocator and taken again for each hash, it would stay in
    /// the process several times over, among smaller things.
    static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Argon2 in its thread's memory.
struct Hasher {
    algorithm: Algorithm,
    version: Version,
    params: Params,
}

impl Hasher {
    fn fill(&self, password: &[u8], salt: &[u8], out: &mut [u8]) -> argon2::Result<()> {
        let argon2 = Argon2::new(self.algorithm, self.version, self.params.clone());
        let blocks = self.params.block_count();
        // Rare, and not worth keeping: a hash that was made elsewhere.
        if blocks > MEMORY_KIB as usize {
            return argon2.hash_password_into(password, salt, out);
        }
        MEMORY.with_borrow_mut(|memory| {
            memory.resize(blocks.max(memory.len()), Block::new());
            argon2.hash_password_into_with_memory(password, salt, out, &mut memory[..blocks])
        })
    }
}

impl PasswordHasher<PasswordHash> for Hasher {
    fn hash_password_with_salt(
        &self,
        password: &[u8],
        salt: &[u8],
    ) -> password_hash::Result<PasswordHash> {
        let mut buffer = [0; Output::MAX_LENGTH];
        let out = buffer
            .get_mut(..self.params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN))
            .ok_or(password_hash::Error::OutputSize)?;
        self.fill(password, salt, out)?;
        Ok(PasswordHash {
            algorithm: self.algorithm.ident(),
            version: Some(self.version.into()),
            params: ParamsString::try_from(&self.params)?,
            salt: Some(Salt::new(salt)?),
            hash: Some(Output::new(out)?),
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "some hashes have to be as the Node service made them"
)]
mod tests {
    use super::*;

    const PASSWORD: &str = "Passw0rd!";

    #[test]
    fn what_everybody_uses_is_guessable_and_a_sentence_is_not() {
        let about = ["asha.rao@nexus.example".to_owned(), "Asha Rao".to_owned()];
        for password in ["password", "12345678", "aaaaaaaa", "qwertyuiop", "Password1", "Asha Rao"]
        {
            assert!(guessable(password, &about), "{password}");
        }
        assert!(guessable(&"a".repeat(128), &[]));
        for password in
            ["Corr3ct-horse", PASSWORD, "monsoon over the harbour", "नमस्ते दुनिया", "Password1!"]
        {
            assert!(!guessable(password, &about), "{password}");
        }
    }

    #[test]
    fn what_is_known_of_owner_and_site_is_guessable_alone_and_in_pieces() {
        let about = ["asha.rao@tickets.example", "Asha Rao", "+919812345678"].map(str::to_owned);
        for password in [
            "Asha2026!",
            "AshaRao@123",
            "Rao_Asha#1",
            "Nexus2026!",
            "N3xus@123",
            "Tickets#2026",
            "9812345678!",
            "Asha9812345678!",
            "919812345678aB!",
            "Nexus.Asha1",
        ] {
            assert!(guessable(password, &about), "{password}");
        }
    }

    /// Of fifty that people and programs choose, none is refused.
    #[test]
    fn honest_passwords_are_accepted() {
        let about = ["asha.rao@tickets.example", "Asha Rao", "+919812345678"].map(str::to_owned);
        let honest = [
            "Corr3ct-horse",
            "An0ther-horse",
            "Wr0ng-horse",
            "Th3-old-horse",
            "k7#xQ2!v",
            "82937465a!",
            "Gk7!92#45",
            "xK9$mPq2",
            "t7Yb!wQz",
            "Zr4#Lm8s",
            "pL0k!9vB",
            "aB3$dE6&",
            "correct horse battery",
            "monsoon over the harbour",
            "MangoLassi4two!",
            "BlueKite-Harbour7",
            "7Elephants&1Mouse",
            "teaAt4oclock!",
            "Rainy-Season-22x",
            "myDogEats3Shoes",
            "Asha-likes-kites9",
            "AshaHarbourKite3",
            "NexusHarbourKite3",
            "Kolkata-tram-36",
            "PuriJagannath#08",
            "ChaiBiscuit@home1",
            "Dosa&Chutney12",
            "Ganga-Ghat-1987x",
            "TwoStates1Heart!",
            "Vada-Pav-Lane5",
            "Lighthouse-keeper2",
            "Bicycle7Thieves",
            "Granite!Teapot1",
            "Saffron#Kettle9",
            "octopus-ladder-77",
            "Whisper.Canyon8",
            "Umbrella+Volcano1",
            "violet-crater-mix",
            "Jalebi4Breakfast",
            "SitarStrings_7x",
            "नमस्ते दुनिया",
            "Пароль-погода7",
            "çay-simit-sabah1",
            "ねこがすき12345x",
            "longenough",
            "Marigold.Monsoon4",
            "quartz-ferry-91",
            "Paneer#Tikka88",
            "Hills&Clouds45",
            "Tr1ckyTandoor!",
        ];
        let refused: Vec<_> = honest.iter().filter(|text| guessable(text, &about)).collect();
        assert!(refused.is_empty(), "{refused:?}");
    }

    /// A hash that costs less than ours.
    fn weak(password: &str) -> String {
        let argon2 = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(8 * 1024, 1, 1, None).unwrap(),
        );
        argon2.hash_password(password.as_bytes()).unwrap().to_string()
    }

    #[tokio::test]
    async fn a_bcrypt_hash_verifies_and_is_replaced() {
        let old = bcrypt::hash(PASSWORD, 4).unwrap();
        let Verdict::RightRehash(new) = verify(PASSWORD.into(), Some(old.clone())).await.unwrap()
        else {
            panic!("a bcrypt hash must be replaced")
        };
        assert!(new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
        assert_eq!(verify(PASSWORD.into(), Some(new)).await.unwrap(), Verdict::Right);
        assert_eq!(verify("passw0rd!".into(), Some(old)).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_hash_with_other_parameters_verifies_and_is_replaced() {
        let old = weak(PASSWORD);
        let Verdict::RightRehash(new) = verify(PASSWORD.into(), Some(old.clone())).await.unwrap()
        else {
            panic!("a hash with other parameters must be replaced")
        };
        assert!(new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
        assert_eq!(verify("passw0rd!".into(), Some(old)).await.unwrap(), Verdict::Wrong);
    }

    const COMPOSED: &str = "P\u{e4}ssw0rd!";
    const DECOMPOSED: &str = "Pa\u{308}ssw0rd!";

    #[tokio::test]
    async fn a_password_is_the_same_in_either_unicode_form() {
        for (kept, typed) in
            [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), (DECOMPOSED, DECOMPOSED)]
        {
            let stored = hash(kept.into()).await.unwrap();
            assert_eq!(verify(typed.into(), Some(stored)).await.unwrap(), Verdict::Right);
        }
    }

    #[tokio::test]
    async fn an_older_hash_of_another_unicode_form_verifies_and_is_replaced() {
        for old in [argon2_hash(DECOMPOSED).unwrap(), bcrypt::hash(DECOMPOSED, 4).unwrap()] {
            let Verdict::RightRehash(new) = verify(DECOMPOSED.into(), Some(old)).await.unwrap()
            else {
                panic!("a hash of another form must be replaced")
            };
            assert_eq!(verify(COMPOSED.into(), Some(new)).await.unwrap(), Verdict::Right);
        }
    }

    #[test]
    fn whoever_types_another_form_waits_twice_as_long_whether_or_not_there_is_an_account() {
        for stored in
            [None, Some(argon2_hash(PASSWORD).unwrap()), Some(bcrypt::hash(PASSWORD, 10).unwrap())]
        {
            let mut work = Work::default();
            assert_eq!(compare(DECOMPOSED, stored.as_deref(), &mut work).unwrap(), Verdict::Wrong);
            assert_eq!(work, Work { argon2: 2, bcrypt: 2 }, "{stored:?}");
        }
    }

    #[tokio::test]
    async fn nobody_can_log_in_without_a_password() {
        assert_eq!(verify("nobody has this password".into(), None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn what_is_too_long_to_be_a_password_is_not_hashed() {
        let long = "a".repeat(LONGEST + 1);
        let stored = argon2_hash(&long).unwrap();
        assert_eq!(verify(long, Some(stored)).await.unwrap(), Verdict::Wrong);
    }

    #[test]
    fn every_failure_costs_the_same() {
        let stored =
            [None, Some(argon2_hash(PASSWORD).unwrap()), Some(bcrypt::hash(PASSWORD, 10).unwrap())];
        for stored in stored {
            let mut work = Work::default();
            assert_eq!(compare("wrong", stored.as_deref(), &mut work).unwrap(), Verdict::Wrong);
            assert_eq!(work, Work { argon2: 1, bcrypt: 1 }, "{stored:?}");
        }
    }

    #[tokio::test]
    async fn a_flood_is_refused_at_once_and_who_waited_is_served() {
        let queue: &Queue = Box::leak(Box::new(Queue::new(1)));
        let (open, door) = std::sync::mpsc::channel::<()>();
        let mut served = tokio::task::JoinSet::new();
        // One caller is being served until the door opens; the others wait for it.
        served.spawn(queue.run(move || door.recv().unwrap_or_default()));
        (0..WAITING).for_each(|_| drop(served.spawn(queue.run(|| ()))));
        while queue.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(queue.run(|| ()).await, Err(Error::Overloaded(_))));
        drop(open);
        assert!(served.join_all().await.iter().all(Result::is_ok));
        assert!(queue.run(|| ()).await.is_ok());
    }
}
