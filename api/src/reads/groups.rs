//! Read groups: callers that ask while PostgreSQL is answering others are answered together by the
//! next statement. It begins after the last of them has asked, so that each sees all that had been
//! committed when they asked, whichever process committed it and whoever has told them of it; and
//! a thousand callers cost PostgreSQL as much as one.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nexus_common::{
    Error, Result,
    observability::metrics,
    storage::postgres::{bounded, promptly_from},
};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;

/// Something that callers ask for.
pub(crate) trait Source: Send + Sync + 'static {
    type Key: Clone + Eq + Hash + Send + Sync;
    type Answer: Clone + Send + Sync;

    /// Its name in metrics.
    const NAME: &'static str;
    /// The most keys of a group.
    const MOST_KEYS: usize = 256;
    /// How long a group is waited for before the next one begins beside it.
    const PATIENCE: Duration = Duration::from_millis(50);

    /// What PostgreSQL has now; keys of which it has nothing are left out.
    fn read(
        &self,
        conn: &mut PgConnection,
        keys: HashSet<Self::Key>,
    ) -> impl Future<Output = Result<HashMap<Self::Key, Self::Answer>>> + Send;
}

/// The most groups of a source that are answered at once.
const MOST_GROUPS: usize = 4;

/// Answers callers in groups. Cheap to clone.
pub(crate) struct Groups<S: Source>(Arc<Inner<S>>);

struct Inner<S: Source> {
    db: PgPool,
    source: S,
    queue: Mutex<Queue<S>>,
}

/// Groups that wait, and the readers that answer them one after the other.
struct Queue<S: Source> {
    waiting: VecDeque<Group<S>>,
    readers: usize,
    /// When a reader last took a group, or was started.
    taken: Instant,
}

struct Group<S: Source> {
    keys: HashSet<S::Key>,
    answers: watch::Sender<Option<Answers<S>>>,
}

type Answers<S> = Result<Arc<HashMap<<S as Source>::Key, <S as Source>::Answer>>, Arc<Error>>;

impl<S: Source> Clone for Groups<S> {
    fn clone(&self) -> Self {
        Groups(self.0.clone())
    }
}

impl<S: Source> Groups<S> {
    pub(crate) fn new(db: PgPool, source: S) -> Self {
        let queue = Queue { waiting: VecDeque::new(), readers: 0, taken: Instant::now() };
        Groups(Arc::new(Inner { db, source, queue: Mutex::new(queue) }))
    }

    /// What PostgreSQL has of `key`, as of a moment after the call.
    pub(crate) async fn get(&self, key: S::Key) -> Result<Option<S::Answer>> {
        let mut answers = self.join(key.clone());
        let answered = async {
            match answers.wait_for(Option::is_some).await.map(|answers| answers.clone()) {
                Ok(Some(Ok(answers))) => Ok(answers.get(&key).cloned()),
                Ok(Some(Err(error))) => Err(error.repeated()),
                _ => Err(Error::internal("the task that reads is gone")),
            }
        };
        promptly_from(&self.0.db, answered).await
    }

    fn join(&self, key: S::Key) -> watch::Receiver<Option<Answers<S>>> {
        let mut queue = self.0.queue();
        let is_open = |group: &Group<S>| group.keys.len() < S::MOST_KEYS;
        let answers = match queue.waiting.back_mut() {
            Some(group) if is_open(group) || group.keys.contains(&key) => {
                group.keys.insert(key);
                group.answers.subscribe()
            }
            _ => {
                let (sender, answers) = watch::channel(None);
                let keys = HashSet::from([key]);
                queue.waiting.push_back(Group { keys, answers: sender });
                answers
            }
        };
        let is_late = queue.readers < MOST_GROUPS && queue.taken.elapsed() >= S::PATIENCE;
        if queue.readers == 0 || is_late {
            queue.readers += 1;
            queue.taken = Instant::now();
            // A task of its own: a caller may leave, and the others still get their answers.
            tokio::spawn(answer(Reader { inner: self.0.clone(), counts: true }));
        }
        answers
    }
}

impl<S: Source> Inner<S> {
    fn queue(&self) -> MutexGuard<'_, Queue<S>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers the groups that wait, until there is none.
async fn answer<S: Source>(mut reader: Reader<S>) {
    let inner = reader.inner.clone();
    let mut conn = None;
    while let Some(Group { keys, answers }) = reader.next() {
        let read = bounded(async {
            let conn = match &mut conn {
                Some(conn) => conn,
                None => conn.insert(inner.db.acquire().await?),
            };
            inner.source.read(conn, keys).await
        });
        let read = read.await;
        if read.is_err() {
            conn = None;
        }
        metrics::read_group(S::NAME);
        answers.send_replace(Some(read.map(Arc::new).map_err(Arc::new)));
    }
}

struct Reader<S: Source> {
    inner: Arc<Inner<S>>,
    /// Whether it counts as one of the readers.
    counts: bool,
}

impl<S: Source> Reader<S> {
    /// The next group. If there is none, the reader no longer counts, so that whoever comes a
    /// moment later starts another one.
    fn next(&mut self) -> Option<Group<S>> {
        let mut queue = self.inner.queue();
        let next = queue.waiting.pop_front();
        match next {
            Some(_) => queue.taken = Instant::now(),
            None => queue.readers -= 1,
        }
        self.counts = next.is_some();
        next
    }
}

impl<S: Source> Drop for Reader<S> {
    fn drop(&mut self) {
        if self.counts {
            self.inner.queue().readers -= 1;
        }
    }
}
