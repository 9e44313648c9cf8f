use super::parse::parse;
use super::{Fields, Name, Shape};

/// Says in words, a line each, how the shape of a type has changed; nothing if it has not.
pub(crate) fn differences(old: &str, new: &str) -> Vec<String> {
    let mut found = Vec::new();
    if old != new {
        match (parse(old), parse(new)) {
            (Some(old), Some(new)) => compare(&Place::Whole, &old, &new, &mut found),
            _ => found.push(format!("it was {old} and is {new}")),
        }
    }
    found
}

/// Where in a type two shapes are compared.
enum Place<'p> {
    Whole,
    Field(&'p Place<'p>, String),
    /// A part of what is at a place: `an item`, `a key`.
    Part(&'p Place<'p>, String),
}

impl Place<'_> {
    /// The place as the subject of a sentence.
    fn subject(&self) -> String {
        match self {
            Place::Whole => "it".to_string(),
            Place::Field(..) => format!("the field `{}`", self.path()),
            Place::Part(of, part) => match of {
                Place::Whole => part.clone(),
                of => format!("{part} of {}", of.subject()),
            },
        }
    }

    /// The names of the fields that lead to the place.
    fn path(&self) -> String {
        match self {
            Place::Whole => String::new(),
            Place::Part(of, _) => of.path(),
            Place::Field(of, name) => match of.path() {
                path if path.is_empty() => name.clone(),
                path => format!("{path}.{name}"),
            },
        }
    }

    fn part(&self, part: impl Into<String>) -> Place<'_> {
        Place::Part(self, part.into())
    }
}

fn compare(place: &Place<'_>, old: &Shape, new: &Shape, found: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Shape::Option(old), Shape::Option(new)) => compare(place, old, new, found),
        (Shape::List(old), Shape::List(new)) => compare(&place.part("an item"), old, new, found),
        (Shape::Array(old, length), Shape::Array(new, new_length)) if length == new_length => {
            compare(&place.part("an item"), old, new, found);
        }
        (Shape::Map(old_key, old_value), Shape::Map(new_key, new_value)) => {
            compare(&place.part("a key"), old_key, new_key, found);
            compare(&place.part("a value"), old_value, new_value, found);
        }
        (Shape::Tuple(old), Shape::Tuple(new)) if old.len() == new.len() => compare_parts(place, old, new, found),
        (Shape::Struct(old_name, old), Shape::Struct(new_name, new)) => {
            compare_names(place, old_name, new_name, found);
            compare_fields(place, old, new, found);
        }
        (Shape::Enum(old_name, old), Shape::Enum(new_name, new)) => {
            compare_names(place, old_name, new_name, found);
            compare_variants(place, old, new, found);
        }
        (old, new) => found.push(format!("{} was {old} and is {new}", place.subject())),
    }
}

fn compare_names(place: &Place<'_>, old: &str, new: &str, found: &mut Vec<String>) {
    if old != new {
        found.push(format!("the type of {} was called `{old}` and is called `{new}`", place.subject()));
    }
}

fn compare_parts(place: &Place<'_>, old: &[Shape], new: &[Shape], found: &mut Vec<String>) {
    for (number, (old, new)) in old.iter().zip(new).enumerate() {
        compare(&place.part(format!("part {}", number + 1)), old, new, found);
    }
}

fn compare_fields(place: &Place<'_>, old: &Fields, new: &Fields, found: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Fields::Unnamed(old), Fields::Unnamed(new)) if old.len() == new.len() => {
            compare_parts(place, old, new, found);
        }
        (Fields::Named(old), Fields::Named(new)) => {
            let field = |name: &str| Place::Field(place, name.to_string());
            for (name, shape) in old {
                match find(new, name) {
                    Some(now) => compare(&field(name), shape, now, found),
                    None => found.push(format!("the field `{}: {shape}` is gone", field(name).path())),
                }
            }
            for (name, shape) in new {
                if find(old, name).is_none() {
                    found.push(format!("the field `{}: {shape}` is new", field(name).path()));
                }
            }
            compare_order(place, "fields", old, new, found);
        }
        (old, new) => {
            let words = |fields: &Fields| match fields {
                Fields::Unknown => "fields that are not known".to_string(),
                Fields::None => "no fields".to_string(),
                fields => format!("the fields{}{fields}", if matches!(fields, Fields::Named(_)) { "" } else { " " }),
            };
            found.push(format!("{} had {} and has {}", place.subject(), words(old), words(new)));
        }
    }
}

fn compare_variants(place: &Place<'_>, old: &[(String, Fields)], new: &[(String, Fields)], found: &mut Vec<String>) {
    for (name, fields) in old {
        let variant = place.part(format!("the variant `{name}`"));
        match find(new, name) {
            Some(now) => compare_fields(&variant, fields, now, found),
            None => found.push(format!("{} is gone", variant.subject())),
        }
    }
    for (name, fields) in new {
        if find(old, name).is_none() {
            found.push(format!("{} is new", place.part(format!("the variant `{}{fields}`", Name(name))).subject()));
        }
    }
    compare_order(place, "variants", old, new, found);
}

/// Bytes are read in the order of fields, and name variants by their number.
fn compare_order<T>(place: &Place<'_>, what: &str, old: &[(String, T)], new: &[(String, T)], found: &mut Vec<String>) {
    let names_in = |these: &[(String, T)], those: &[(String, T)]| -> Vec<String> {
        these.iter().map(|(name, _)| name.clone()).filter(|name| find(those, name).is_some()).collect()
    };
    let (before, now) = (names_in(old, new), names_in(new, old));
    if before != now {
        let (before, now) = (before.join(", "), now.join(", "));
        found.push(format!("the {what} of {} were in the order {before} and are in the order {now}", place.subject()));
    }
}

fn find<'f, T>(list: &'f [(String, T)], name: &str) -> Option<&'f T> {
    list.iter().find(|(other, _)| other == name).map(|(_, found)| found)
}
