//! A real Apache Kafka for tests, benchmarks and examples: fetched through Maven, started on free ports of 127.0.0.1
//! with its data in a temporary folder, and ended with the value, or with the process however that ends.
//!
//! It needs `java` (17 or newer), `mvn` (the first time) and `sh`, and 0.4 GB of memory for each broker. A broker is up
//! after three to four seconds. The jars, 44 MB, stay in `target/apache-kafka`.
//!
//! # Examples
//!
//! ```no_run
//! use tidemill_test_broker::ApacheKafka;
//!
//! let kafka = ApacheKafka::builder().start()?;
//! kafka.create_topic("lines", 4, &[("retention.ms", "60000")])?;
//! kafka.send("lines", 0, ["to be", "or not to be"])?;
//! println!("{}", kafka.bootstrap_servers());
//! # Ok::<(), tidemill_test_broker::Error>(())
//! ```
//!
//! In a test, where it may be missing:
//!
//! ```no_run
//! # use tidemill_test_broker::ApacheKafka;
//! # fn test() {
//! let Some(kafka) = ApacheKafka::builder().or_skip() else { return };
//! # drop(kafka);
//! # }
//! ```

#![allow(clippy::disallowed_methods, reason = "brokers run in real time")]

mod admin;
mod error;
mod jars;
mod process;
mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use self::admin::Admin;
use self::server::{Server, Settings};

pub use error::{Error, Result, or_skip};

/// How long brokers may take to start or to stop. Far more than they need, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often ports are chosen anew, if others take them before the brokers do.
const ATTEMPTS: usize = 5;

/// What to start. Made by [`ApacheKafka::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    brokers: usize,
    settings: Settings,
}

impl Builder {
    /// How many brokers: one unless set. The first is the controller too, so it is the others that may go away.
    #[must_use]
    pub fn brokers(mut self, count: usize) -> Self {
        self.brokers = count.max(1);
        self
    }

    /// A property of every broker, in addition or in place of what is set anyway.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.properties.insert(name.into(), value.into());
        self
    }

    /// Opens a second port for those who give this name and password (SASL mechanism `PLAIN`, no encryption).
    ///
    /// Clients find it at [`ApacheKafka::sasl_bootstrap_servers`].
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.settings.users.insert(name.into(), password.into());
        self
    }

    /// An option of the Java machine. `-XX:TieredStopAtLevel=4` makes a broker that is fast in the long run, where it
    /// otherwise starts in half the processor time.
    #[must_use]
    pub fn java_option(mut self, option: impl Into<String>) -> Self {
        self.settings.java_options.push(option.into());
        self
    }

    /// Starts the brokers, and returns when all of them answer.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if Java or the jars cannot be had here, otherwise [`Error::Failed`] with the end of the log.
    pub fn start(&self) -> Result<ApacheKafka> {
        server::check_java()?;
        let jars = jars::fetch()?;
        let mut attempt = 1;
        loop {
            match self.start_on_free_ports(&jars) {
                Err(error) if attempt < ATTEMPTS && server::is_port_taken(&error) => attempt += 1,
                started => return started,
            }
        }
    }

    /// The same for a test: `None` if Java or the jars cannot be had here, which it says loudly. See [`or_skip`].
    #[must_use]
    #[track_caller]
    pub fn or_skip(&self) -> Option<ApacheKafka> {
        or_skip(self.start())
    }

    fn start_on_free_ports(&self, jars: &Path) -> Result<ApacheKafka> {
        let folder = tempfile::Builder::new().prefix("apache-kafka-").tempdir();
        let folder = folder.map_err(|error| Error::Failed(format!("no temporary folder: {error}")))?;
        let servers = Server::prepare(self.brokers, &self.settings, jars, folder.path())?;
        let bootstrap_servers = addresses(&servers, Server::port);
        let admin = Admin::new(&bootstrap_servers)?;
        let mut kafka = ApacheKafka { servers, bootstrap_servers, admin, _folder: folder };
        kafka.restart()?;
        Ok(kafka)
    }
}

/// Brokers of Apache Kafka that belong to this value. Dropping it kills them and removes their data.
#[derive(Debug)]
pub struct ApacheKafka {
    servers: Vec<Server>,
    bootstrap_servers: String,
    admin: Admin,
    /// Goes after the brokers that write to it.
    _folder: TempDir,
}

impl ApacheKafka {
    /// One broker, unless it is told otherwise.
    #[must_use]
    pub fn builder() -> Builder {
        let settings = Settings { properties: BTreeMap::new(), users: BTreeMap::new(), java_options: Vec::new() };
        Builder { brokers: 1, settings }
    }

    /// Where clients find the brokers. Stays the same when they are restarted.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Where clients find the brokers that authenticate, for those who were named with [`Builder::user`].
    #[must_use]
    pub fn sasl_bootstrap_servers(&self) -> String {
        addresses(&self.servers, Server::sasl_port)
    }

    /// Kills all brokers, as a power failure would.
    pub fn kill(&mut self) {
        self.servers.iter_mut().for_each(Server::kill);
    }

    /// Kills one broker; the first has number 1. Its partitions get other leaders, if they have replicas there.
    ///
    /// # Panics
    ///
    /// If there is no such broker.
    pub fn kill_broker(&mut self, number: usize) {
        self.servers[number - 1].kill();
    }

    /// Stops all brokers in order, and waits for their end.
    ///
    /// # Errors
    ///
    /// If one of them has to be killed.
    pub fn stop(&mut self) -> Result<()> {
        // The controller last: the others tell it that they go.
        self.servers.iter_mut().rev().try_for_each(Server::stop)
    }

    /// Starts the brokers that do not run, on the ports and with the data they had, and waits until all answer.
    ///
    /// # Errors
    ///
    /// If a broker ends, or does not answer; with the end of its log.
    pub fn restart(&mut self) -> Result<()> {
        let begun = Instant::now();
        for server in &mut self.servers {
            server.start()?;
        }
        while !self.admin.is_complete(self.servers.len(), server::cluster_id(&self.servers)) {
            self.servers.iter_mut().try_for_each(Server::check)?;
            if begun.elapsed() >= PATIENCE {
                let message = format!("Apache Kafka does not answer after {PATIENCE:?}\n{}", self.log_tail());
                return Err(Error::Failed(message));
            }
        }
        Ok(())
    }

    /// The last lines that each broker wrote to its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.servers.iter().map(Server::log_tail).collect()
    }

    /// Makes a topic, and returns when it has leaders. It has a replica on each broker.
    ///
    /// # Errors
    ///
    /// If the brokers refuse it.
    pub fn create_topic(&self, topic: &str, partitions: usize, configs: &[(&str, &str)]) -> Result<()> {
        self.admin.create_topic(topic, partitions, self.servers.len(), configs)
    }

    /// Gives a topic more partitions, up to `total`, and returns when they have leaders.
    ///
    /// # Errors
    ///
    /// If the brokers refuse it.
    pub fn add_partitions(&self, topic: &str, total: usize) -> Result<()> {
        self.admin.add_partitions(topic, total)
    }

    /// Deletes a topic, and returns when the brokers know it no more.
    ///
    /// # Errors
    ///
    /// If the brokers refuse it.
    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        self.admin.delete_topic(topic)
    }

    /// The number of the broker that leads each partition of a topic, -1 where there is none.
    ///
    /// # Errors
    ///
    /// If the brokers do not know the topic.
    pub fn leaders(&self, topic: &str) -> Result<Vec<i32>> {
        self.admin.leaders(topic)
    }

    /// Deletes the records of a partition whose offsets are below `before`, as retention does.
    ///
    /// # Errors
    ///
    /// If the brokers refuse it.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        self.admin.delete_records(topic, partition, before)
    }

    /// Sends records that have a value and nothing else, and returns when all brokers have them.
    ///
    /// # Errors
    ///
    /// If a record is not delivered.
    pub fn send<V: AsRef<[u8]>>(&self, topic: &str, partition: i32, values: impl IntoIterator<Item = V>) -> Result<()> {
        self.admin.send(topic, partition, values)
    }
}

fn addresses(servers: &[Server], port: impl Fn(&Server) -> u16) -> String {
    let addresses: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", port(server))).collect();
    addresses.join(",")
}
