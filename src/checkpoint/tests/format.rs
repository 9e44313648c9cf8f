//! Reads a directory by the numbers of `guide/src/checkpoint-format.md`, and with nothing else.

use super::*;

fn number(bytes: &[u8], range: std::ops::Range<usize>) -> u64 {
    bytes[range].iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Checks the head of a file and returns the places and the bodies of its frames.
fn frames(name: &str, bytes: &[u8], kind: u64, epoch: u64, segment: u64) -> Vec<(usize, Vec<u8>)> {
    assert_eq!(&bytes[0..8], b"TIDEMILL", "{name}");
    assert_eq!((number(bytes, 8..10), number(bytes, 10..12)), (1, kind), "{name}");
    assert_eq!((number(bytes, 12..20), number(bytes, 20..28)), (epoch, segment), "{name}");
    assert_eq!(number(bytes, 28..32), u64::from(crc32fast::hash(&bytes[0..28])), "{name}");
    let (mut at, mut frames) = (32, Vec::new());
    while at < bytes.len() {
        let frame = &bytes[at..];
        let body = frame[12..][..number(frame, 0..4) as usize].to_vec();
        assert_eq!(number(frame, 4..8), u64::from(crc32fast::hash(&body)), "{name} at {at}");
        let mut covered = Vec::new();
        for place in [epoch, segment, at as u64] {
            covered.extend(place.to_le_bytes());
        }
        covered.extend(&frame[0..8]);
        assert_eq!(number(frame, 8..12), u64::from(crc32fast::hash(&covered)), "{name} at {at}");
        let length = 12 + body.len();
        frames.push((at, body));
        at += length;
    }
    frames
}

/// Takes fields off a body, as words: `8` and `4` and `1` numbers, `t` a text or bytes.
fn fields(body: &mut &[u8], kinds: &str) -> Vec<String> {
    let mut take = |length: usize| {
        let (field, rest) = body.split_at(length);
        *body = rest;
        field.to_vec()
    };
    let field = |kind| match kind {
        't' => {
            let length = number(&take(4), 0..4) as usize;
            String::from_utf8(take(length)).unwrap()
        }
        digit => {
            let length = digit.to_digit(10).unwrap() as usize;
            number(&take(length), 0..length).to_string()
        }
    };
    kinds.chars().map(field).collect()
}

#[test]
fn a_directory_is_as_the_guide_says() {
    let directory = TempDir::new().unwrap();
    let (journal, _) = open_in(directory.path());
    journal.begin(&manifest()).unwrap();
    run(&journal, 1, vec![chunk(0, 2, 1, "a"), chunk(1, 2, 1, "bc")]);
    journal.output_ended(at(1), output(), Some("no"));
    journal.close(&never::<()>()).unwrap();
    drop(journal);
    let mut names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected =
        ["alive-0000000001", "batches-0000000001-0000000000", "epoch-0000000001", "state-0000000001-0000000000"];
    assert_eq!(names, expected);
    let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    let id = |operator: OperatorId| u64::from_str_radix(&operator.to_string(), 16).unwrap().to_string();

    let epoch = frames("epoch", &read(expected[2]), 1, 1, 0);
    let owner = fields(&mut &epoch[0].1[..], "84tt");
    assert_eq!(
        (epoch.len(), &owner[0][..], &owner[1], &owner[3][..]),
        (1, "0", &std::process::id().to_string(), "clicks")
    );
    let alive = frames("alive", &read(expected[0]), 2, 1, 0);
    assert_eq!((alive.len(), &fields(&mut &alive[0].1[..], "88")[1][..]), (1, "1"));

    let log = frames("batches", &read(expected[1]), 3, 1, 0);
    let mut entries: Vec<Vec<String>> = Vec::new();
    for (at, body) in &log {
        let mut body = &body[..];
        let synced = fields(&mut body, "8")[0].parse::<usize>().unwrap();
        assert_eq!(synced, if *at == 32 { 0 } else { *at }, "all was synced that was written before");
        while !body.is_empty() {
            let kind = fields(&mut body, "1");
            let mut entry = match &kind[0][..] {
                "1" => {
                    let mut entry = fields(&mut body, "t8844");
                    for _ in 0..entry[4].parse().unwrap() {
                        entry.extend(fields(&mut body, "8tt11"));
                        if entry.last().unwrap() == "1" {
                            entry.extend(fields(&mut body, "t44tt"));
                        }
                    }
                    entry
                }
                "2" => fields(&mut body, "848" /* one input */).into_iter().chain(fields(&mut body, "8tt")).collect(),
                "3" => fields(&mut body, "881t"),
                "4" => fields(&mut body, "8818888"),
                other => panic!("entry {other}"),
            };
            entry.insert(0, kind[0].clone());
            entries.push(entry);
        }
    }
    let state = read(expected[3]);
    let texts = |entry: &[&str]| entry.iter().map(|field| field.to_string()).collect::<Vec<_>>();
    let (source, counter, output) = (id(source()), id(counter()), id(output()));
    let line = "src/main.rs:7";
    #[rustfmt::skip]
    let operators = texts(&[
        "1", "clicks", "1000000", "0", "1024", "3",
        &source, "queue", line, "1", "0",
        &counter, "counts", line, "2", "1", "update_state_by_key", "3", "1", "key", "String",
        &output, "foreach_batch", line, "3", "0",
    ]);
    let length = (state.len() - 32).to_string();
    assert_eq!(
        entries,
        [
            operators,
            texts(&["2", "1000000", "1", &source, "1", "records of 1", "plan 1"]),
            texts(&["3", "1000000", &output, "0", ""]),
            texts(&["4", "1000000", "1000000", "1", "1", "0", "32", &length]),
            texts(&["3", "1000000", &output, "1", "no"]),
        ]
    );

    let chunks = frames("state", &state, 4, 1, 0);
    let bodies: Vec<&[u8]> = chunks.iter().map(|(_, body)| &body[..]).collect();
    let [first, a, second, bc] = bodies[..] else { panic!("two chunks") };
    assert_eq!((a, bc), (&b"a"[..], &b"bc"[..]));
    for (partition, about) in [(0, first), (1, second)] {
        let field = |range| number(about, range).to_string();
        assert_eq!((about.len(), field(0..8)), (53, counter.clone()));
        assert_eq!((number(about, 8..9), number(about, 9..17)), (0, 0));
        assert_eq!((number(about, 17..21), number(about, 21..25)), (partition, 2));
        assert_eq!((number(about, 25..33), number(about, 33..41)), (1_000_000, 1_000_000));
        assert_eq!((number(about, 41..49), number(about, 49..53)), (1, 3));
    }
}
