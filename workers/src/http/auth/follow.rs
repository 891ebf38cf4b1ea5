//! Keeps the keys as they are in their file.
//!
//! The file is looked at time and again, since a mounted ConfigMap changes by another folder taking the place of the first. What
//! cannot be read or used changes nothing: the keys of before stay, and before the first there are none.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use tokio::{fs::File, io::AsyncReadExt};

use super::keys::{KeySet, KeysError, MAX_SET};
use crate::{
    metrics::{ResultKind, ResultLabel},
    readiness::Need,
};

/// How often the file is looked at. Kubernetes itself takes up to a minute to bring a change to the pod.
pub const LOOK: Duration = Duration::from_secs(2);

/// The keys of now; none before the first were read.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<RwLock<Option<Arc<KeySet>>>>);

impl Keys {
    /// The keys of now.
    #[must_use]
    pub fn now(&self) -> Option<Arc<KeySet>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn become_these(&self, set: KeySet) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(set));
    }
}

/// What is counted about the file.
#[derive(Clone, Debug, Default)]
pub struct FileCounts {
    /// Times that it was read because it had changed, by whether it could be used.
    pub loads: Family<ResultLabel, Counter>,
    /// Keys that tokens are checked with.
    pub keys: Gauge,
}

/// Follows the file.
pub struct Follower {
    /// Where it is.
    pub path: PathBuf,
    /// The keys that it holds.
    pub keys: Keys,
    /// What is counted.
    pub counts: FileCounts,
    /// Met once there are keys.
    pub need: Need,
    seen: Option<Result<Vec<u8>, String>>,
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl Follower {
    /// Nothing is read yet.
    pub fn new(path: PathBuf, keys: Keys, counts: FileCounts, need: Need) -> Self {
        Self { path, keys, counts, need, seen: None }
    }

    /// Looks at the file for ever.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    /// Looks at the file once.
    pub async fn look(&mut self) {
        let text = read(&self.path).await;
        let seen = text.as_ref().map(Clone::clone).map_err(ToString::to_string);
        // What has been told once is not told again.
        if self.seen.as_ref() == Some(&seen) {
            return;
        }
        self.seen = Some(seen);
        let set = text.map_err(Unusable::from).and_then(|text| KeySet::parse(&text).map_err(Unusable::from));
        let result = if set.is_ok() { ResultKind::Ok } else { ResultKind::Failed };
        self.counts.loads.get_or_create(&ResultLabel { result }).inc();
        let path = self.path.display();
        match set {
            Ok(set) => {
                for unused in &set.unused {
                    tracing::warn!(%path, unused, "a key is not used");
                }
                match set.len() {
                    0 => tracing::warn!(%path, "no key is there: no token is taken any more"),
                    keys => tracing::info!(%path, keys, "tokens are checked with the keys of this file from now on"),
                }
                self.counts.keys.set(i64::try_from(set.len()).unwrap_or(i64::MAX));
                self.keys.become_these(set);
                self.need.met();
            }
            Err(why) if self.keys.now().is_some() => {
                tracing::error!(%path, %why, "the file of the keys cannot be used: the keys of before stay in use");
            }
            Err(why) => {
                tracing::error!(%path, %why, "the file of the keys cannot be used: nobody is let in");
                self.need.missing(format!("the file of the keys cannot be used: {why}"));
            }
        }
    }
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // One byte more than may be, so that what is too large is seen to be.
    let most = u64::try_from(MAX_SET).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).await?.take(most).read_to_end(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::readiness::Readiness;

    const ONE: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    #[tokio::test]
    async fn a_mounted_file_changes_by_its_folder_and_what_is_broken_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // As the kubelet does it: the file is a link into a folder, which is a link to one of its times.
        let swap = |time: &str, text: Option<&str>| {
            fs::create_dir(at(time)).unwrap();
            if let Some(text) = text {
                fs::write(at(time).join("jwks.json"), text).unwrap();
            }
            symlink(time, at("..next")).unwrap();
            fs::rename(at("..next"), at("..data")).unwrap();
        };
        symlink("..data/jwks.json", at("jwks.json")).unwrap();
        let (readiness, keys) = (Readiness::new(), Keys::default());
        let mut follower = Follower::new(at("jwks.json"), keys.clone(), FileCounts::default(), readiness.need_at_start("jwks"));
        for (time, text, expected, ready, failures) in [
            ("..1", None, None, false, 1),
            ("..2", Some("{"), None, false, 2),
            ("..3", Some(ONE), Some(1), true, 2),
            ("..4", Some("{}"), Some(1), true, 3),
            ("..5", None, Some(1), true, 4),
            ("..6", Some(r#"{"keys":[{"kty":"oct","k":"YQ"}]}"#), Some(1), true, 5),
            ("..7", Some(r#"{"keys":[]}"#), Some(0), true, 5),
            ("..8", Some(ONE), Some(1), true, 5),
        ] {
            swap(time, text);
            // Twice, since what is still the same is not told again.
            follower.look().await;
            follower.look().await;
            assert_eq!((keys.now().map(|set| set.len()), readiness.is_ready()), (expected, ready), "{time}");
            assert_eq!(follower.counts.loads.get_or_create(&ResultLabel { result: ResultKind::Failed }).get(), failures, "{time}");
        }
    }
}
