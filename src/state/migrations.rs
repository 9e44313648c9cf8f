use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::shape::shape;
use crate::codec;
use crate::data::Exchange;
use crate::error::{Error, ErrorKind, Result, guarded};

/// How states of older versions of a program become those of this one.
#[derive(Clone)]
pub(crate) struct Migrations<S> {
    version: u32,
    /// What is wrong with what the program has asked for.
    mistakes: Vec<String>,
    from: BTreeMap<u32, Migration<S>>,
}

/// Reads a state at the start of bytes, and says how many it took.
type Read<S> = Arc<dyn Fn(&[u8]) -> Result<(S, usize)> + Send + Sync>;

/// How states of one older version are read.
#[derive(Clone)]
struct Migration<S> {
    shape: String,
    read: Read<S>,
    /// How many states were.
    migrated: Arc<AtomicU64>,
}

impl<S: Exchange> Migrations<S> {
    /// States of version 1, and no older ones.
    pub(crate) fn new() -> Self {
        Migrations { version: 1, mistakes: Vec::new(), from: BTreeMap::new() }
    }

    /// The version of the states of this program.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    pub(crate) fn set_version(&mut self, version: u32) {
        self.version = version;
    }

    /// States of `version` are `Old`s, of which `migrate` makes those of this program.
    pub(crate) fn add<Old: Exchange>(
        &mut self,
        version: u32,
        migrate: impl Fn(Old) -> Result<S> + Send + Sync + 'static,
    ) {
        let read = move |bytes: &[u8]| {
            let (old, used) = codec::decode_value::<Old>(bytes)?;
            let panicked = |said: &str| Error::new(ErrorKind::User, format!("panicked: {said}"));
            Ok((guarded(|| migrate(old), panicked)?, used))
        };
        let migration = Migration { shape: shape::<Old>(), read: Arc::new(read), migrated: Arc::default() };
        if self.from.insert(version, migration).is_some() {
            self.mistakes.push(format!("two migrations from version {version}"));
        }
    }

    /// What is wrong with the versions, to be reported with the line that gave them.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let later = self.from.keys().filter(|from| **from >= self.version);
        let later = later.map(|from| format!("a migration from version {from} to version {}", self.version));
        let zero = (self.version == 0).then(|| "version 0: versions begin with 1".to_string());
        self.mistakes.iter().cloned().chain(zero).chain(later).collect()
    }

    /// The older versions that can be read, with the shapes of their states.
    pub(crate) fn versions(&self) -> Vec<(u32, String)> {
        self.from.iter().map(|(version, migration)| (*version, migration.shape.clone())).collect()
    }

    /// Reads the state at the start of `bytes`, which was written as one of `version`, and returns it with how many bytes
    /// it took.
    ///
    /// # Errors
    ///
    /// There is no migration from that version, or it fails.
    pub(crate) fn read(&self, version: u32, bytes: &[u8]) -> Result<(S, usize)> {
        if version == self.version {
            return codec::decode_value(bytes);
        }
        let now = self.version;
        let Some(migration) = self.from.get(&version) else {
            let message = if version > now {
                format!("a state of version {version} is newer than this program, which has version {now}")
            } else {
                format!(
                    "a state of version {version} is left from an older program: keep `migrate_from({version}, ..)` for as \
                     long as there are such states"
                )
            };
            return Err(Error::new(ErrorKind::Checkpoint, message));
        };
        let read = (migration.read)(bytes)
            .map_err(|e| e.within(format!("the migration of a state from version {version} to version {now}")))?;
        migration.migrated.fetch_add(1, Ordering::Relaxed);
        Ok(read)
    }

    /// How many states were read of each older version.
    pub(crate) fn migrated(&self) -> Vec<(u32, u64)> {
        let migrated = self.from.iter();
        let migrated = migrated.map(|(version, migration)| (*version, migration.migrated.load(Ordering::Relaxed)));
        migrated.filter(|(_, states)| *states > 0).collect()
    }
}

impl<S> fmt::Debug for Migrations<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from: Vec<&u32> = self.from.keys().collect();
        f.debug_struct("Migrations").field("version", &self.version).field("from", &from).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of<T: serde::Serialize>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::encode_value(value, &mut bytes).unwrap();
        bytes.push(7); // of whatever follows
        bytes
    }

    fn clicks() -> Migrations<(u64, String)> {
        let mut migrations = Migrations::new();
        migrations.set_version(3);
        migrations.add(1, |clicks: u64| Ok((clicks, "none".to_string())));
        migrations.add(2, |(clicks, _): (u64, bool)| match clicks {
            0 => panic!("no clicks"),
            1 => Err(Error::new(ErrorKind::User, "one click")),
            clicks => Ok((clicks, "two".to_string())),
        });
        migrations
    }

    #[test]
    fn states_of_all_versions_are_read() {
        let clicks = clicks();
        assert!(clicks.mistakes().is_empty());
        assert_eq!(clicks.versions(), [(1, "u64".to_string()), (2, "(u64, bool)".to_string())]);
        let read = |version, bytes: &[u8]| clicks.read(version, bytes).map(|((clicks, by), used)| (clicks, by, used));
        assert_eq!(read(3, &bytes_of(&(5u64, "a"))).unwrap(), (5, "a".to_string(), 3));
        assert_eq!(clicks.migrated(), []);
        assert_eq!(read(1, &bytes_of(&5u64)).unwrap(), (5, "none".to_string(), 1));
        assert_eq!(read(1, &bytes_of(&6u64)).unwrap(), (6, "none".to_string(), 1));
        assert_eq!(read(2, &bytes_of(&(7u64, true))).unwrap(), (7, "two".to_string(), 2));
        assert_eq!(clicks.clone().migrated(), [(1, 2), (2, 1)]);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let table = [
            (2, bytes_of(&(0u64, true)), "from version 2 to version 3: panicked: no clicks"),
            (2, bytes_of(&(1u64, true)), "from version 2 to version 3: one click"),
            (2, Vec::new(), "from version 2 to version 3: a (u64, bool) cannot be read"),
            (4, bytes_of(&1u64), "version 4 is newer than this program, which has version 3"),
            (0, bytes_of(&1u64), "version 0 is left from an older program"),
        ];
        for (version, bytes, expected) in table {
            let error = clicks().read(version, &bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn versions_that_make_no_sense_are_mistakes() {
        let mut migrations = Migrations::<u64>::new();
        migrations.add(1, |old: u32| Ok(old.into()));
        migrations.add(1, |old: u8| Ok(old.into()));
        assert_eq!(migrations.mistakes(), ["two migrations from version 1", "a migration from version 1 to version 1"]);
    }
}
