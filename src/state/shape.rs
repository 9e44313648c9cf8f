//! Shapes of types: what serde reads and writes of a type, in words that can be kept and compared.
//!
//! ```text
//! u64  str  bytes  ()                       values; `?` is what could not be found out
//! Option<T>  [T]  [T; 4]  {K => V}  (A, B)  options, lists, arrays, maps, tuples
//! Clicks {user: str, clicks: u64}           structs; `Id(u64)` with fields that have no names, `struct Nothing`
//! enum Event {Closed, Moved(i32, i32)}      enums with all their variants
//! List {head: u8, tail: Option<^List>}      a type within itself
//! ```
//!
//! Names that are no identifiers are quoted. **Types of one shape read each other's bytes and mean the same by them**,
//! as far as names say what is meant, so names are part of a shape.

mod differences;
mod parse;
mod trace;

use std::fmt;

use serde::de::DeserializeOwned;

pub(crate) use differences::differences;

/// Returns the shape of a type. It is the same in every process, and is found by having values of the type made.
pub(crate) fn shape<T: DeserializeOwned>() -> String {
    trace::trace::<T>().to_string()
}

/// Values without parts.
const VALUES: [&str; 16] = [
    "bool", "u8", "u16", "u32", "u64", "u128", "i8", "i16", "i32", "i64", "i128", "f32", "f64", "char", "str", "bytes",
];

/// Other words that are no names.
const WORDS: [&str; 3] = ["Option", "enum", "struct"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Unknown,
    /// A value without parts, by its name in the list above.
    Value(String),
    Option(Box<Shape>),
    List(Box<Shape>),
    Array(Box<Shape>, usize),
    Map(Box<Shape>, Box<Shape>),
    Tuple(Vec<Shape>),
    Struct(String, Fields),
    Enum(String, Vec<(String, Fields)>),
    /// A type that this one is part of: its name, and how many nearer ones of that name are passed over.
    Outer(String, usize),
}

/// What a struct or a variant consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fields {
    Unknown,
    None,
    Unnamed(Vec<Shape>),
    Named(Vec<(String, Shape)>),
}

impl Shape {
    /// A tuple, as an array if it is a long one of equal parts.
    fn tuple(parts: Vec<Shape>) -> Shape {
        match parts.split_first() {
            Some((first, rest)) if rest.len() > 2 && rest.iter().all(|part| part == first) => {
                Shape::Array(Box::new(first.clone()), parts.len())
            }
            _ => Shape::Tuple(parts),
        }
    }
}

/// A name, in quotes unless it is an identifier and no word of this language.
struct Name<'n>(&'n str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name(name) = self;
        let is_identifier = name.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        if is_identifier && !VALUES.contains(name) && !WORDS.contains(name) {
            return f.write_str(name);
        }
        write!(f, "\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Unknown => f.write_str("?"),
            Shape::Value(value) => f.write_str(value),
            Shape::Option(some) => write!(f, "Option<{some}>"),
            Shape::List(item) => write!(f, "[{item}]"),
            Shape::Array(item, length) => write!(f, "[{item}; {length}]"),
            Shape::Map(key, value) => write!(f, "{{{key} => {value}}}"),
            Shape::Tuple(parts) => unnamed(parts, f),
            Shape::Struct(name, Fields::None) => write!(f, "struct {}", Name(name)),
            Shape::Struct(name, fields) => write!(f, "{}{fields}", Name(name)),
            Shape::Enum(name, variants) => {
                write!(f, "enum {} {{", Name(name))?;
                for (place, (variant, fields)) in variants.iter().enumerate() {
                    write!(f, "{}{}{fields}", comma(place), Name(variant))?;
                }
                f.write_str("}")
            }
            Shape::Outer(name, passed) => write!(f, "{}{}", "^".repeat(passed + 1), Name(name)),
        }
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fields::Unknown => f.write_str("?"),
            Fields::None => Ok(()),
            Fields::Unnamed(fields) => unnamed(fields, f),
            Fields::Named(fields) => {
                f.write_str(" {")?;
                for (place, (name, shape)) in fields.iter().enumerate() {
                    write!(f, "{}{}: {shape}", comma(place), Name(name))?;
                }
                f.write_str("}")
            }
        }
    }
}

fn unnamed(parts: &[Shape], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("(")?;
    for (place, part) in parts.iter().enumerate() {
        write!(f, "{}{part}", comma(place))?;
    }
    f.write_str(")")
}

/// What stands before the part at this place of a list.
fn comma(place: usize) -> &'static str {
    if place == 0 { "" } else { ", " }
}

#[cfg(test)]
mod tests;
