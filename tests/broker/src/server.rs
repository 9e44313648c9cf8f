use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::PATIENCE;
use crate::error::{Error, Result};
use crate::process::Process;

/// What brokers are started with, besides where they are.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) users: BTreeMap<String, String>,
    pub(crate) java_options: Vec<String>,
}

/// One broker, whether it runs or not.
#[derive(Debug)]
pub(crate) struct Server {
    number: usize,
    cluster_id: String,
    ports: Ports,
    jars: PathBuf,
    java_options: Vec<String>,
    folder: PathBuf,
    process: Option<Process>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    plain: u16,
    sasl: u16,
    /// Of the first broker.
    controller: u16,
}

/// What Apache Kafka 4 needs.
const JAVA: u32 = 17;

/// Small, since several run beside what they are there for. The first compiler alone starts in half the processor time.
const JAVA_OPTIONS: [&str; 4] = ["-Xms256M", "-Xmx512M", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"];

const PROPERTIES: [(&str, &str); 15] = [
    ("controller.listener.names", "CONTROLLER"),
    ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"),
    ("inter.broker.listener.name", "PLAINTEXT"),
    ("sasl.enabled.mechanisms", "PLAIN"),
    ("log.dirs", "data"),
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "4"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("auto.create.topics.enable", "false"),
    // A broker that was killed may come back when its former life has expired.
    ("broker.session.timeout.ms", "1000"),
    ("broker.heartbeat.interval.ms", "200"),
    // How soon offsets that cannot be read any more, and topics that are deleted, are gone.
    ("log.retention.check.interval.ms", "1000"),
    ("file.delete.delay.ms", "1000"),
];

const LOG: &str = "server.log";
const CONSOLE: &str = "console.log";

/// `console.log` gets what is said before there is a log, and by Java itself.
const LOG4J: &str = "\
appender.file.type = File
appender.file.name = file
appender.file.fileName = server.log
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
";

/// Says that Java is missing, if it is.
pub(crate) fn check_java() -> Result<()> {
    let missing = |why: String| Error::Missing(format!("`java` cannot be run ({why}): install a JDK, {JAVA} or newer"));
    let output = Command::new("java").arg("-version").output().map_err(|error| missing(error.to_string()))?;
    if !output.status.success() {
        return Err(missing(output.status.to_string()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match java_version(&said) {
        Some(version) if version < JAVA => Err(missing(format!("it is Java {version}"))),
        // One that says it in another way may be as good as any.
        _ => Ok(()),
    }
}

/// The version in what `java -version` says: `openjdk version "17.0.2" 2022-01-18`, and `1.8.0_292` before Java 9.
fn java_version(said: &str) -> Option<u32> {
    let version = said.split('"').nth(1)?;
    let version = version.strip_prefix("1.").unwrap_or(version);
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether another program had taken a port before the broker could.
pub(crate) fn is_port_taken(error: &Error) -> bool {
    error.to_string().contains("Address already in use")
}

/// The name that tells these brokers from all others.
pub(crate) fn cluster_id(servers: &[Server]) -> &str {
    &servers[0].cluster_id
}

impl Server {
    /// Gives each of `count` brokers its ports and formats its folder, in `root`. None is started.
    pub(crate) fn prepare(count: usize, settings: &Settings, jars: &Path, root: &Path) -> Result<Vec<Server>> {
        let ports = free_ports(1 + 2 * count)?;
        let cluster_id = new_cluster_id();
        let servers = (1..=count).map(|number| {
            let server = Server {
                number,
                cluster_id: cluster_id.clone(),
                ports: Ports { controller: ports[0], plain: ports[2 * number - 1], sasl: ports[2 * number] },
                jars: jars.to_path_buf(),
                java_options: settings.java_options.clone(),
                folder: root.join(format!("broker-{number}")),
                process: None,
            };
            let failed = |error| Error::Failed(format!("{} cannot be written: {error}", server.folder.display()));
            server.write_files(&server.properties(count, settings)).map_err(failed)?;
            server.format()?;
            Ok(server)
        });
        servers.collect()
    }

    pub(crate) fn port(&self) -> u16 {
        self.ports.plain
    }

    pub(crate) fn sasl_port(&self) -> u16 {
        self.ports.sasl
    }

    fn properties(&self, count: usize, settings: &Settings) -> BTreeMap<String, String> {
        let Ports { plain, sasl, controller } = self.ports;
        let mut properties: BTreeMap<String, String> =
            PROPERTIES.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut set = |name: &str, value: String| properties.insert(name.to_string(), value);
        let is_controller = self.number == 1;
        let mut listeners = vec![format!("PLAINTEXT://127.0.0.1:{plain}")];
        if !settings.users.is_empty() {
            listeners.push(format!("SASL_PLAINTEXT://127.0.0.1:{sasl}"));
        }
        set("advertised.listeners", listeners.join(","));
        if is_controller {
            listeners.push(format!("CONTROLLER://127.0.0.1:{controller}"));
        }
        set("listeners", listeners.join(","));
        set("process.roles", if is_controller { "broker,controller" } else { "broker" }.to_string());
        set("node.id", self.number.to_string());
        set("controller.quorum.voters", format!("1@127.0.0.1:{controller}"));
        for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
            set(&format!("{topic}.replication.factor"), count.to_string());
        }
        let mut login = "org.apache.kafka.common.security.plain.PlainLoginModule required".to_string();
        for (user, password) in &settings.users {
            let _ = write!(login, " user_{user}=\"{password}\"");
        }
        set("listener.name.sasl_plaintext.plain.sasl.jaas.config", login + ";");
        properties.extend(settings.properties.clone());
        properties
    }

    fn write_files(&self, properties: &BTreeMap<String, String>) -> io::Result<()> {
        fs::create_dir(&self.folder)?;
        let lines: String = properties.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(self.folder.join("server.properties"), lines)?;
        fs::write(self.folder.join("log4j2.properties"), LOG4J)
    }

    /// A command for a class of Kafka that runs in the folder of the broker.
    fn java(&self, options: &[String], class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(JAVA_OPTIONS)
            .args(options)
            .arg("-Dlog4j2.configurationFile=log4j2.properties")
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(class)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    fn format(&self) -> Result<()> {
        let mut format = self.java(&[], "kafka.tools.StorageTool");
        format.args(["format", "--cluster-id", &self.cluster_id, "--config", "server.properties"]);
        let output = format.output().map_err(|error| Error::Failed(format!("`java` cannot be run: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        Err(Error::Failed(format!("the data of broker {} was not formatted:\n{said}", self.number)))
    }

    /// Starts it, if it does not run. It answers some seconds later.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let failed = |error: io::Error| Error::Failed(format!("broker {} cannot be started: {error}", self.number));
        let console = File::options().create(true).append(true).open(self.folder.join(CONSOLE)).map_err(failed)?;
        let mut command = self.java(&self.java_options, "kafka.Kafka");
        command.arg("server.properties").stdout(console.try_clone().map_err(failed)?).stderr(console);
        self.process = Some(Process::start(&mut command, &self.folder).map_err(failed)?);
        Ok(())
    }

    /// Fails if it was started and has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(status) = self.process.as_mut().and_then(Process::ended) else { return Ok(()) };
        self.process = None;
        Err(Error::Failed(format!("broker {} has ended: {status}\n{}", self.number, self.log_tail())))
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if process.terminate(PATIENCE) {
            return Ok(());
        }
        let message = format!("broker {} did not stop in {PATIENCE:?}\n{}", self.number, self.log_tail());
        Err(Error::Failed(message))
    }

    /// The last lines of what it wrote.
    pub(crate) fn log_tail(&self) -> String {
        const LINES: usize = 40;
        let mut tail = String::new();
        for name in [CONSOLE, LOG] {
            let text = fs::read(self.folder.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                let _ = writeln!(tail, "--- broker {}, end of {name}", self.number);
            }
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                let _ = writeln!(tail, "{line}");
            }
        }
        tail
    }
}

/// Ports that nobody listens on. Below those that systems hand out for outgoing connections: a client that tries to
/// reach a broker which is down could get the very port that it tries, and keep it from the broker.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    const PORTS: Range<u16> = 10_000..32_000;
    let length = u64::from(PORTS.end - PORTS.start);
    let start = random() % length;
    // Each stays taken until all are found.
    let mut listeners = Vec::new();
    for step in 0..length {
        let port = PORTS.start + u16::try_from((start + step) % length).unwrap_or_default();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            listeners.push((port, listener));
            if listeners.len() == count {
                return Ok(listeners.iter().map(|(port, _)| *port).collect());
            }
        }
    }
    Err(Error::Failed(format!("no {count} free ports in {PORTS:?}")))
}

/// An id as Kafka makes them: 16 bytes in 22 letters of base64.
fn new_cluster_id() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
    let mut id = String::new();
    while id.len() < 21 {
        id.push(char::from(LETTERS[(random() % 32) as usize]));
    }
    // The last letter has the bits that are left over.
    id + "A"
}

fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_found() {
        assert_eq!(java_version("openjdk version \"17.0.2\" 2022-01-18\nOpenJDK Runtime Environment"), Some(17));
        assert_eq!(java_version("openjdk version \"1.8.0_292\""), Some(8));
        assert_eq!(java_version("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(java_version("java: a script"), None);
    }
}
