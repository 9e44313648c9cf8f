#![allow(dead_code, reason = "only types count")]

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::*;

#[derive(Deserialize)]
struct Clicks {
    _user: String,
    _clicks: u64,
}

#[derive(Deserialize)]
struct Nothing;

#[derive(Deserialize)]
struct Id(u64);

#[derive(Deserialize)]
struct Wrapper<T>(T, bool);

#[derive(Deserialize)]
enum Event {
    Closed,
    Id(Id),
    Moved(i32, i32),
    Named { _name: Option<String>, _inner: Option<Inner> },
}

#[derive(Deserialize)]
enum Inner {
    A,
    B(Vec<Inner>),
}

#[derive(Deserialize)]
struct List {
    _head: u8,
    _tail: Option<Box<List>>,
    _then: Event,
}

#[derive(Deserialize)]
enum Sum {
    Add(Box<Sum>, Box<Sum>),
    Negative(Box<Sum>),
    Number(i64),
}

#[derive(Deserialize)]
enum Endless {
    Again(Box<Endless>),
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Tree(Vec<Tree>);

#[derive(Deserialize)]
#[serde(rename = "a \"b\"")]
struct Renamed {
    #[serde(rename = "c d")]
    _c: u8,
    #[serde(skip)]
    _skipped: u64,
}

/// Takes four bytes.
struct Raw;

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Raw, D::Error> {
        struct Four;
        impl Visitor<'_> for Four {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("four bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Raw, E> {
                if bytes.len() == 4 { Ok(Raw) } else { Err(E::custom("not four")) }
            }
        }
        from.deserialize_bytes(Four)
    }
}

/// Takes no text but one of a date.
struct Date;

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Date, D::Error> {
        let text = String::deserialize(from)?;
        if text == "1970-01-01" { Ok(Date) } else { Err(D::Error::custom("no date")) }
    }
}

#[derive(Deserialize)]
struct Dated {
    _on: Date,
    _events: Vec<Event>,
}

/// Takes nothing at all.
struct Never;

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Never, D::Error> {
        u8::deserialize(from)?;
        Err(D::Error::custom("never"))
    }
}

#[derive(Deserialize)]
struct AroundNever {
    _before: Inner,
    _never: Never,
    _after: u64,
}

#[derive(Deserialize)]
struct MaybeNever {
    _maybe: Option<Never>,
    _after: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Untagged {
    A(u8),
}

/// Is a number and then a list, or a text, as the number says; and asks for items for ever.
struct Moody;

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Moody, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Moody;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("items")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Moody, A::Error> {
                while items.next_element::<Moody>()?.is_some() {}
                Ok(Moody)
            }
        }
        from.deserialize_tuple(2, Items)
    }
}

#[test]
fn shapes_are_readable_and_read_back() {
    let table = [
        (shape::<u64>(), "u64"),
        (shape::<(bool, char, f32, i128)>(), "(bool, char, f32, i128)"),
        (shape::<Box<str>>(), "str"),
        (shape::<()>(), "()"),
        (shape::<i8>(), "i8"),
        (shape::<Box<[u8]>>(), "[u8]"),
        (shape::<Raw>(), "bytes"),
        (shape::<[u8; 16]>(), "[u8; 16]"),
        (shape::<(u8, u8)>(), "(u8, u8)"),
        (shape::<(Vec<u64>, VecDeque<u64>, HashSet<String>)>(), "([u64], [u64], [str])"),
        (shape::<HashMap<String, BTreeMap<u8, Option<u64>>>>(), "{str => {u8 => Option<u64>}}"),
        (shape::<Option<Option<u8>>>(), "Option<Option<u8>>"),
        (shape::<Clicks>(), "Clicks {_user: str, _clicks: u64}"),
        (shape::<Nothing>(), "struct Nothing"),
        (shape::<Id>(), "Id(u64)"),
        (shape::<Wrapper<Wrapper<u8>>>(), "Wrapper(Wrapper(u8, bool), bool)"),
        (shape::<(Id, Vec<Id>)>(), "(Id(u64), [Id(u64)])"),
        (shape::<Duration>(), "Duration {secs: u64, nanos: u32}"),
        (shape::<NonZeroU32>(), "u32"),
        (shape::<Result<u8, String>>(), "enum Result {Ok(u8), Err(str)}"),
        (shape::<IpAddr>(), "enum IpAddr {V4([u8; 4]), V6([u8; 16])}"),
        (
            shape::<Event>(),
            "enum Event {Closed, Id(Id(u64)), Moved(i32, i32), Named {_name: Option<str>, \
             _inner: Option<enum Inner {A, B([^Inner])}>}}",
        ),
        (
            shape::<List>(),
            "List {_head: u8, _tail: Option<^List>, _then: enum Event {Closed, Id(Id(u64)), Moved(i32, i32), \
             Named {_name: Option<str>, _inner: Option<enum Inner {A, B([^Inner])}>}}}",
        ),
        (shape::<Sum>(), "enum Sum {Add(^Sum, ^Sum), Negative(^Sum), Number(i64)}"),
        (shape::<Endless>(), "enum Endless {Again(^Endless)}"),
        (shape::<Tree>(), "[^list]"),
        (shape::<Renamed>(), r#""a \"b\"" {"c d": u8}"#),
        (
            shape::<Dated>(),
            "Dated {_on: str, _events: [enum Event {Closed, Id(Id(u64)), Moved(i32, i32), \
             Named {_name: Option<str>, _inner: Option<enum Inner {A, B([^Inner])}>}}]}",
        ),
        (shape::<AroundNever>(), "AroundNever {_before: enum Inner {A, B([^Inner])}, _never: u8, _after: ?}"),
        (shape::<MaybeNever>(), "MaybeNever {_maybe: Option<u8>, _after: u64}"),
        (shape::<Untagged>(), "?"),
        (shape::<Moody>(), "(^tuple, ?)"),
    ];
    for (found, expected) in table {
        assert_eq!(found, expected);
        let parsed = parse::parse(expected).unwrap_or_else(|| panic!("{expected} is not read back"));
        assert_eq!(parsed.to_string(), expected);
    }
}

#[test]
fn what_is_no_shape_is_none() {
    let deep = "[".repeat(10_000);
    for text in ["", "[", "[u8", "(u8 u8)", "{u8}", "u8 ", "enum", "\"u8\"", "\"", "[u8; x]", "A {b}", "^", &deep] {
        assert_eq!(parse::parse(text), None, "{text}");
    }
}

#[test]
fn differences_are_told_in_words() {
    let table: [(&str, &str, &[&str]); 18] = [
        ("u64", "u64", &[]),
        ("u64", "i64", &["it was u64 and is i64"]),
        ("A {clicks: u64}", "A {clicks: i64}", &["the field `clicks` was u64 and is i64"]),
        ("A {b: u8}", "A {b: u8, tags: [str]}", &["the field `tags: [str]` is new"]),
        ("A {b: u8, tags: [str]}", "A {b: u8}", &["the field `tags: [str]` is gone"]),
        ("A {b: u8}", "A {c: u8}", &["the field `b: u8` is gone", "the field `c: u8` is new"]),
        (
            "A {b: u8, c: u8}",
            "A {c: u8, b: u8}",
            &["the fields of it were in the order b, c and are in the order c, b"],
        ),
        ("A {b: B {c: u8}}", "A {b: B {c: str}}", &["the field `b.c` was u8 and is str"]),
        ("A {b: B {c: u8}}", "A {b: C {c: u8}}", &["the type of the field `b` was called `B` and is called `C`"]),
        ("A {b: [u8]}", "A {b: [u16]}", &["an item of the field `b` was u8 and is u16"]),
        ("A {b: [B {c: u8}]}", "A {b: [B {c: i8}]}", &["the field `b.c` was u8 and is i8"]),
        ("{u8 => u8}", "{u8 => u16}", &["a value was u8 and is u16"]),
        ("(u8, u8)", "(u8, u16)", &["part 2 was u8 and is u16"]),
        ("[u8; 4]", "[u8; 5]", &["it was [u8; 4] and is [u8; 5]"]),
        ("enum A {B, C}", "enum A {B, C, D(u8)}", &["the variant `D(u8)` is new"]),
        ("A {b: enum A {B, C}}", "A {b: enum A {C}}", &["the variant `B` of the field `b` is gone"]),
        ("enum A {B(u8)}", "enum A {B {c: u8}}", &["the variant `B` had the fields (u8) and has the fields {c: u8}"]),
        ("not a shape", "u8", &["it was not a shape and is u8"]),
    ];
    for (old, new, expected) in table {
        assert_eq!(differences(old, new), expected, "{old} and {new}");
    }
}
