//! The table "Every method" of the guide's chapter *Coming from Spark* is complete, both ways: it has a row for each of
//! Spark's methods, and names each of ours, and names nothing that does not exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The public methods of Spark 3.5, class by class, under the headings of the table.
const SPARK: [(&str, &str); 6] = [
    (
        "DStream",
        "cache checkpoint compute context count countByValue countByValueAndWindow countByWindow dependencies filter \
         flatMap foreachRDD glom map mapPartitions persist print reduce reduceByWindow repartition saveAsObjectFiles \
         saveAsTextFiles slice slideDuration transform transformWith union window",
    ),
    (
        "Pairs of a DStream",
        "cogroup combineByKey flatMapValues fullOuterJoin groupByKey groupByKeyAndWindow join leftOuterJoin mapValues \
         mapWithState reduceByKey reduceByKeyAndWindow rightOuterJoin saveAsHadoopFiles saveAsNewAPIHadoopFiles \
         updateStateByKey",
    ),
    (
        "State",
        "MapWithStateDStream.stateSnapshots State.exists State.get State.getOption State.isTimingOut State.remove \
         State.update StateSpec.function StateSpec.initialState StateSpec.numPartitions StateSpec.partitioner \
         StateSpec.timeout",
    ),
    (
        "StreamingContext",
        "addStreamingListener awaitTermination awaitTerminationOrTimeout binaryRecordsStream checkpoint fileStream \
         getActive getActiveOrCreate getOrCreate getState jarOfClass queueStream rawSocketStream receiverStream remember \
         removeStreamingListener socketStream socketTextStream sparkContext start stop textFileStream transform union",
    ),
    (
        "Kafka and back-pressure",
        "CanCommitOffsets ConsumerStrategies.Assign ConsumerStrategies.Subscribe ConsumerStrategies.SubscribePattern \
         HasOffsetRanges KafkaUtils.createDirectStream KafkaUtils.createRDD LocationStrategies OffsetRange \
         PerPartitionConfig spark.streaming.backpressure.enabled spark.streaming.backpressure.initialRate \
         spark.streaming.backpressure.pid.derived spark.streaming.backpressure.pid.integral \
         spark.streaming.backpressure.pid.minRate spark.streaming.backpressure.pid.proportional \
         spark.streaming.backpressure.rateEstimator spark.streaming.kafka.allowNonConsecutiveOffsets \
         spark.streaming.kafka.consumer.cache.enabled spark.streaming.kafka.consumer.cache.maxCapacity \
         spark.streaming.kafka.consumer.poll.ms spark.streaming.kafka.maxRatePerPartition \
         spark.streaming.kafka.minRatePerPartition",
    ),
    (
        "RDD and its pairs",
        "aggregate aggregateByKey cache cartesian checkpoint coalesce cogroup collect collectAsMap collectAsync \
         combineByKey context count countApprox countApproxDistinct countApproxDistinctByKey countAsync countByKey \
         countByValue distinct filter filterByRange first flatMap flatMapValues fold foldByKey foreach foreachAsync \
         foreachPartition foreachPartitionAsync fullOuterJoin getCheckpointFile getNumPartitions glom groupBy groupByKey \
         groupWith histogram intersection isEmpty join keyBy keys leftOuterJoin localCheckpoint lookup map mapPartitions \
         mapPartitionsWithIndex mapValues max mean min partitionBy partitioner persist pipe randomSplit reduce \
         reduceByKey reduceByKeyLocally repartition repartitionAndSortWithinPartitions rightOuterJoin sample \
         sampleStdev sampleVariance saveAsHadoopDataset saveAsHadoopFile saveAsNewAPIHadoopDataset \
         saveAsNewAPIHadoopFile saveAsObjectFile saveAsTextFile setName sortBy sortByKey stats stdev subtract \
         subtractByKey sum take takeAsync takeOrdered takeSample toDebugString toLocalIterator top treeAggregate \
         treeReduce union unpersist values variance zip zipPartitions zipWithIndex zipWithUniqueId",
    ),
];

/// The room with the methods that a section's second column names, and the type that has them.
const OURS: [(&str, &str, &str); 4] = [
    ("DStream", "src/dstream", "DStream"),
    ("Pairs of a DStream", "src/dstream", "DStream"),
    ("StreamingContext", "src/context", "StreamingContext"),
    ("RDD and its pairs", "src/dataset", "Dataset"),
];

/// The rows of a section of the table: the names in the first column, and those in the second.
type Rows = Vec<(Vec<String>, Vec<String>)>;

fn section(heading: &str) -> Rows {
    let text = read("guide/src/coming-from-spark.md");
    let start = text.find(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = &text[start + 1..];
    let end = section[1..].find("\n#").map_or(section.len(), |end| end + 1);
    let rows = section[..end].lines().filter(|line| line.starts_with("| `"));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(String::from).collect();
    rows.map(|row| {
        let mut cells = row.split(" | ");
        (names(cells.next().unwrap_or("")), names(cells.next().unwrap_or("")))
    })
    .collect()
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The public methods of a type in a room.
pub(crate) fn methods(place: &str, of: &str) -> BTreeSet<String> {
    fn visit(path: &Path, of: &str, found: &mut BTreeSet<String>) {
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| visit(&entry.unwrap().path(), of, found));
            return;
        }
        let text = fs::read_to_string(path).unwrap();
        let mut inside = false;
        for line in text.lines() {
            if line.starts_with("impl") {
                let subject = line.split(" for ").next().unwrap_or(line);
                let subject = subject.split_once("> ").map_or(subject, |(_, subject)| subject);
                let subject = subject.trim_start_matches("impl ");
                inside = !line.contains(" for ") && subject.split(['<', ' ']).next() == Some(of);
            } else if line == "}" {
                inside = false;
            } else if let Some(method) = line.strip_prefix("    pub fn ") {
                if inside {
                    found.insert(method.split(['(', '<']).next().unwrap_or("").to_string());
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
    visit(&place.with_extension("rs"), of, &mut found);
    if place.is_dir() {
        visit(&place, of, &mut found);
    }
    found
}

#[test]
fn every_method_of_spark_has_a_row() {
    for (heading, spark) in SPARK {
        let rows = section(heading);
        let named: BTreeSet<&str> = rows.iter().flat_map(|(spark, _)| spark).map(String::as_str).collect();
        let missing: Vec<_> = spark.split_whitespace().filter(|method| !named.contains(method)).collect();
        assert!(missing.is_empty(), "{heading}: the table has no row for {missing:?}");
    }
}

#[test]
fn every_method_in_the_table_exists() {
    for (heading, place, of) in OURS {
        let here = methods(place, of);
        assert!(here.len() > 10, "{place}: {here:?}");
        for (spark, ours) in section(heading) {
            for name in ours {
                let exists = match name.split_once("::") {
                    None => here.contains(&name),
                    Some((of, method)) => methods("src/context", of).contains(method),
                };
                assert!(exists, "{heading}: {spark:?} is said to be `{name}`, which {of} does not have");
            }
        }
    }
}

#[test]
fn every_name_for_states_in_the_table_exists() {
    for (spark, ours) in section("State") {
        for name in ours {
            let (of, method) = name.split_once("::").unwrap_or_else(|| panic!("{name} names no type"));
            let exists = ["src/dstream/stateful", "src/state"].iter().any(|place| methods(place, of).contains(method));
            assert!(exists, "{spark:?} is said to be `{name}`, which does not exist");
        }
    }
}

/// Functions, types, variants and settings: that something public has the name, wherever it is.
#[test]
fn every_name_for_kafka_in_the_table_exists() {
    fn read(folder: &Path, declared: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, declared);
            } else {
                declared.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut declared = String::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut declared);
    for (spark, ours) in section("Kafka and back-pressure") {
        for name in ours {
            let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            let exists = ["pub fn ", "pub struct ", "pub trait ", "    "]
                .iter()
                .any(|before| declared.split(&format!("{before}{name}")).skip(1).any(ends));
            assert!(exists, "{spark:?} is said to be `{name}`, which nothing is called");
        }
    }
}

#[test]
fn every_method_of_ours_is_in_the_table() {
    let alone = section("Ours alone");
    let alone: BTreeSet<&String> = alone.iter().flat_map(|(ours, _)| ours).collect();
    for of in ["DStream", "StreamingContext", "Dataset"] {
        let (mut named, mut here) = (BTreeSet::new(), BTreeSet::new());
        for (heading, place, _) in OURS.iter().filter(|(_, _, subject)| *subject == of) {
            here.extend(methods(place, of));
            named.extend(section(heading).into_iter().flat_map(|(_, ours)| ours));
        }
        let elsewhere = section("RDD and its pairs").into_iter().flat_map(|(_, ours)| ours);
        named.extend(elsewhere.filter_map(|name| name.strip_prefix(&format!("{of}::")).map(String::from)));
        named.extend(alone.iter().map(|name| name.to_string()));
        let with = |name: &String| name.strip_suffix("_with").is_some_and(|plain| named.contains(plain));
        let missing: Vec<_> = here.iter().filter(|name| !named.contains(*name) && !with(name)).collect();
        assert!(missing.is_empty(), "the table does not name {missing:?} of {of}");
    }
}

#[test]
fn every_operator_is_in_the_chapter_on_operators() {
    let chapter = read("guide/src/operators.md");
    let named: BTreeSet<&str> = chapter.split('`').skip(1).step_by(2).collect();
    for (place, of) in [("src/dstream", "DStream"), ("src/dataset", "Dataset")] {
        let here = methods(place, of);
        let plain = |method: &str| method.strip_suffix("_with").filter(|plain| here.contains(*plain)).map(String::from);
        let missing = |method: &&String| !named.contains(method.as_str()) && plain(method).is_none();
        let missing: Vec<_> = here.iter().filter(missing).collect();
        assert!(missing.is_empty(), "operators.md does not name {missing:?} of {of}");
    }
}
