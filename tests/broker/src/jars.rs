use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

const VERSION: &str = "4.3.1";

/// What Maven is asked for. Kafka logs through slf4j and brings nothing that would write its log.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidemill</groupId>
  <artifactId>test-broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <properties>
    <log4j>2.24.3</log4j>
  </properties>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.3.1</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-api</artifactId><version>${log4j}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>${log4j}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-1.2-api</artifactId><version>${log4j}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>${log4j}</version>
    </dependency>
  </dependencies>
</project>
"#;

/// Returns the folder of the jars of Apache Kafka, and fetches them if they are not there.
///
/// The folder gets its name when it is complete. Of several processes that want it at once, one fetches.
pub(crate) fn fetch() -> Result<PathBuf> {
    let folder = target_folder().join("apache-kafka").join(VERSION);
    let failed = |error: io::Error| Error::Failed(format!("{} cannot be written: {error}", folder.display()));
    fs::create_dir_all(&folder).map_err(failed)?;
    // Held until the file is closed, or the process is gone.
    let lock = File::create(folder.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;

    let (pom, jars) = (folder.join("pom.xml"), folder.join("lib"));
    let is_ours = fs::read_to_string(&pom).is_ok_and(|text| text == POM);
    if is_ours && jars.is_dir() {
        return Ok(jars);
    }
    if jars.exists() {
        fs::remove_dir_all(&jars).map_err(failed)?;
    }
    fs::write(&pom, POM).map_err(failed)?;
    // A name that nobody else has: a Maven whose caller was killed goes on writing for a while.
    let draft = tempfile::Builder::new().prefix("lib-").tempdir_in(&folder).map_err(failed)?;
    run_maven(&folder, draft.path())?;
    fs::rename(draft.keep(), &jars).map_err(failed)?;
    Ok(jars)
}

fn run_maven(folder: &Path, jars: &Path) -> Result<()> {
    let mut output_folder = std::ffi::OsString::from("-DoutputDirectory=");
    output_folder.push(jars);
    let output = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(output_folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::Missing(format!("`mvn` cannot be run ({error}): install Maven")))?;
    if output.status.success() && jars.join(format!("kafka_2.13-{VERSION}.jar")).is_file() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(Error::Missing(format!("Maven did not fetch Apache Kafka {VERSION} ({}):\n{said}", output.status)))
}

/// The target folder of the build that runs: Cargo puts a tag into it, wherever it is told to have it. A program from
/// elsewhere, such as an example of the documentation, takes the one of the workspace.
fn target_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let tagged = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    tagged.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), Path::to_path_buf)
}
