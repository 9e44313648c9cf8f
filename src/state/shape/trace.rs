//! Finds the shape of a type by having values of it made: what the type asks for says what it consists of.
//!
//! A value shows one variant of an enum, and nothing of what an option leaves out, so values are made until none shows
//! anything new. Types that refuse a value are offered others. **It ends, and always with the same shape**: whatever a
//! `Deserialize` written by hand does, it is asked a bounded number of times, and what it does not show is unknown.

use std::any::type_name;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::{Fields, Shape};

/// How many parts of values are made for one type, at most.
const MAX_STEPS: usize = 1 << 18;
/// How deep values are nested, at most.
const MAX_DEPTH: usize = 128;
/// How many parts a tuple may have.
const MAX_TUPLE: usize = 1 << 12;
/// How often a variant is tried that no value could be made of.
const MAX_TRIES: usize = 32;

/// Numbers, lengths and texts that are offered in their order, for as long as the type refuses them.
const NUMBERS: [u8; 4] = [1, 0, 2, 10];
const LENGTHS: [usize; 8] = [0, 16, 4, 8, 1, 12, 20, 32];
const TEXTS: [&str; 16] = [
    "",
    "1",
    "a",
    "1970-01-01",
    "00:00:00",
    "1970-01-01T00:00:00",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00+00:00",
    "UTC",
    "127.0.0.1",
    "::1",
    "127.0.0.1:1",
    "00000000-0000-0000-0000-000000000001",
    "https://example.org/",
    "1.0.0",
    "{}",
];

/// Returns the shape of a type.
pub(super) fn trace<T: DeserializeOwned>() -> Shape {
    let mut tracer = Tracer::default();
    let root = tracer.add();
    loop {
        tracer.advanced = false;
        tracer.leaves.clear();
        tracer.refusing = None;
        if tracer.make(root, |reader| T::deserialize(reader)).is_err() {
            let refusing = tracer.refusing.take().unwrap_or_default();
            tracer.offer_others(&refusing);
        }
        if !tracer.advanced || tracer.steps > MAX_STEPS {
            return tracer.shape(root, &mut Vec::new());
        }
    }
}

#[derive(Default)]
struct Tracer {
    parts: Vec<Part>,
    /// Where each kind of value with parts was met first.
    first_met: BTreeMap<Kind, usize>,
    /// The parts that are being made, outermost first.
    active: Vec<usize>,
    /// How many of them are within themselves.
    within_itself: usize,
    /// The parts of this value that could be something else.
    leaves: Vec<usize>,
    /// Those among which is one that the type has refused.
    refusing: Option<Vec<usize>>,
    /// Whether this value has shown anything new, or the next may.
    advanced: bool,
    completed_variants: usize,
    steps: usize,
}

/// A part of a type.
#[derive(Default)]
struct Part {
    kind: Option<Kind>,
    form: Form,
    /// Which of the values on offer it gets.
    offer: usize,
    /// All of them were refused.
    hopeless: bool,
}

/// What was asked for, and by whom: the name of the visitor tells types of one name apart. It is not kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    visitor: &'static str,
    word: &'static str,
    name: &'static str,
    length: usize,
}

#[derive(Clone, Default)]
enum Form {
    #[default]
    Unknown,
    /// It is not the same in all values.
    Varies,
    Value(&'static str),
    /// The part where the type was met first.
    Same(usize),
    Option(usize),
    List(usize),
    Map(usize, usize),
    Tuple(Vec<usize>),
    Struct(&'static str, Content),
    Enum(&'static str, Vec<Variant>),
}

#[derive(Clone)]
enum Content {
    Unknown,
    None,
    Unnamed(Vec<usize>),
    Named(Vec<(&'static str, usize)>),
}

#[derive(Clone)]
struct Variant {
    name: &'static str,
    content: Content,
    tries: usize,
    /// The how manieth it was of which a value was made.
    completed: Option<usize>,
}

/// A type refuses a value, or has shown all that it can.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value is refused")
    }
}

impl std::error::Error for Refused {}

impl serde::de::Error for Refused {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Refused
    }
}

impl Content {
    fn parts(&self) -> Vec<usize> {
        match self {
            Content::Unknown | Content::None => Vec::new(),
            Content::Unnamed(parts) => parts.clone(),
            Content::Named(fields) => fields.iter().map(|(_, part)| *part).collect(),
        }
    }
}

impl Tracer {
    fn add(&mut self) -> usize {
        self.parts.push(Part::default());
        self.parts.len() - 1
    }

    fn add_all(&mut self, number: usize) -> Vec<usize> {
        (0..number).map(|_| self.add()).collect()
    }

    fn named(&mut self, names: &'static [&'static str]) -> Content {
        Content::Named(names.iter().map(|name| (*name, self.add())).collect())
    }

    fn step(&mut self) -> Result<(), Refused> {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.active.len() > MAX_DEPTH { Err(Refused) } else { Ok(()) }
    }

    /// The value at a part is asked for: returns which of those on offer it gets.
    fn leaf(&mut self, at: usize, word: &'static str) -> Result<usize, Refused> {
        self.step()?;
        let at = self.settle(at, Kind { visitor: "", word, name: "", length: 0 }, |_| Form::Value(word));
        self.leaves.push(at);
        Ok(self.parts[at].offer)
    }

    /// Notes what a part is. Returns where that is kept: at the part where the type was met first, or at a new one if
    /// the part is something else this time.
    fn settle(&mut self, at: usize, kind: Kind, form: impl FnOnce(&mut Self) -> Form) -> usize {
        match &self.parts[at].kind {
            Some(known) if *known == kind => {
                return if let Form::Same(first) = self.parts[at].form { first } else { at };
            }
            Some(_) => {
                self.parts[at].form = Form::Varies;
                let apart = self.add();
                return self.settle(apart, kind, form);
            }
            None => {}
        }
        self.advanced = true;
        self.parts[at].kind = Some(kind.clone());
        if kind.visitor.is_empty() {
            self.parts[at].form = form(self);
            return at;
        }
        if let Some(&first) = self.first_met.get(&kind) {
            self.parts[at].form = Form::Same(first);
            return first;
        }
        self.first_met.insert(kind, at);
        let form = form(self);
        self.parts[at].form = form;
        at
    }

    /// What the type has refused will be something else in the next value.
    fn offer_others(&mut self, refusing: &[usize]) {
        for &at in refusing {
            let Part { form, offer, hopeless, .. } = &mut self.parts[at];
            let offers = match form {
                Form::Value("str") => TEXTS.len(),
                Form::Value("bytes") => LENGTHS.len(),
                Form::Value("bool" | "f32" | "f64" | "char") => 2,
                Form::Value("()" | "?") => 1,
                Form::List(_) | Form::Map(..) => 3,
                _ => NUMBERS.len(),
            };
            *offer += 1;
            *hopeless |= *offer >= offers;
            *offer = (*offer).min(offers - 1);
            self.advanced |= !*hopeless;
        }
    }

    /// Whether a part has something that no value has shown.
    fn is_open(&self, at: usize) -> bool {
        self.any(at, |part| match &part.form {
            Form::Unknown => true,
            Form::Enum(_, variants) => {
                variants.iter().any(|variant| variant.completed.is_none() && variant.tries < MAX_TRIES)
            }
            _ => false,
        })
    }

    /// Whether a value of a part is worth making: it may show something, and is not certain to be refused.
    fn is_worth_it(&self, at: usize) -> bool {
        self.is_open(at) && !self.any(at, |part| part.hopeless)
    }

    fn any(&self, at: usize, holds: impl Fn(&Part) -> bool) -> bool {
        let mut seen = vec![false; self.parts.len()];
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let part = &self.parts[at];
            if holds(part) {
                return true;
            }
            match &part.form {
                Form::Unknown | Form::Varies | Form::Value(_) => {}
                Form::Same(part) | Form::Option(part) | Form::List(part) => open.push(*part),
                Form::Map(key, value) => open.extend([*key, *value]),
                Form::Tuple(parts) => open.extend(parts),
                Form::Struct(_, content) => open.extend(content.parts()),
                Form::Enum(_, variants) => open.extend(variants.iter().flat_map(|variant| variant.content.parts())),
            }
        }
        false
    }

    /// The variant that the next value gets: one that may show something; or, within itself or if there is none, the
    /// one that was completed first, since that ends.
    fn choose(&self, variants: &[Variant]) -> Option<usize> {
        let is_new = |variant: &Variant| variant.tries == 0;
        let is_open = |variant: &Variant| {
            let unfinished = variant.completed.is_none() && variant.tries < MAX_TRIES;
            unfinished || variant.content.parts().iter().any(|part| self.is_worth_it(*part))
        };
        let completed = || {
            let completed = variants.iter().enumerate().filter(|(_, variant)| variant.completed.is_some());
            completed.min_by_key(|(_, variant)| variant.completed).map(|(place, _)| place)
        };
        if self.within_itself > 0 {
            return completed().or_else(|| variants.iter().position(is_new));
        }
        variants.iter().position(is_open).or_else(completed)
    }

    fn variant(&mut self, of: usize, place: usize) -> Option<&mut Variant> {
        match &mut self.parts[of].form {
            Form::Enum(_, variants) => variants.get_mut(place),
            _ => None,
        }
    }

    fn shape(&self, at: usize, outer: &mut Vec<(usize, String)>) -> Shape {
        let name = match &self.parts[at].form {
            Form::Unknown | Form::Varies | Form::Value("?") => return Shape::Unknown,
            Form::Value(word) => return Shape::Value((*word).to_string()),
            Form::Same(first) => return self.shape(*first, outer),
            Form::Option(_) => "option",
            Form::List(_) => "list",
            Form::Map(..) => "map",
            Form::Tuple(_) => "tuple",
            Form::Struct(name, _) | Form::Enum(name, _) => name,
        };
        if let Some(place) = outer.iter().position(|(part, _)| *part == at) {
            let passed = outer[place + 1..].iter().filter(|(_, other)| other == name).count();
            return Shape::Outer(name.to_string(), passed);
        }
        outer.push((at, name.to_string()));
        let shape = match &self.parts[at].form {
            Form::Option(some) => Shape::Option(Box::new(self.shape(*some, outer))),
            Form::List(item) => Shape::List(Box::new(self.shape(*item, outer))),
            Form::Map(key, value) => Shape::Map(Box::new(self.shape(*key, outer)), Box::new(self.shape(*value, outer))),
            Form::Tuple(parts) => Shape::tuple(parts.iter().map(|part| self.shape(*part, outer)).collect()),
            Form::Struct(_, content) => Shape::Struct(name.to_string(), self.fields(content, outer)),
            Form::Enum(_, variants) => {
                let variants = variants.iter();
                let variants = variants.map(|variant| (variant.name.to_string(), self.fields(&variant.content, outer)));
                Shape::Enum(name.to_string(), variants.collect())
            }
            Form::Unknown | Form::Varies | Form::Value(_) | Form::Same(_) => Shape::Unknown,
        };
        outer.pop();
        shape
    }

    fn fields(&self, content: &Content, outer: &mut Vec<(usize, String)>) -> Fields {
        match content {
            Content::Unknown => Fields::Unknown,
            Content::None => Fields::None,
            Content::Unnamed(parts) => Fields::Unnamed(parts.iter().map(|part| self.shape(*part, outer)).collect()),
            Content::Named(fields) => Fields::Named(
                fields.iter().map(|(name, part)| ((*name).to_string(), self.shape(*part, outer))).collect(),
            ),
        }
    }
}

/// What a type is given to read from: it gets what it asks for.
struct Reader<'t> {
    tracer: &'t mut Tracer,
    at: usize,
}

impl<'t> Reader<'t> {
    /// Gives a value without parts.
    fn value<T>(self, word: &'static str, visit: impl FnOnce(usize) -> Result<T, Refused>) -> Result<T, Refused> {
        let offer = self.tracer.leaf(self.at, word)?;
        visit(offer)
    }

    fn number<T>(self, word: &'static str, visit: impl FnOnce(u8) -> Result<T, Refused>) -> Result<T, Refused> {
        self.value(word, |offer| visit(NUMBERS[offer]))
    }

    /// Gives a value with parts: `form` says what it is, and `visit` makes it of what is kept at a part.
    fn compound<T>(
        self,
        kind: Kind,
        form: impl FnOnce(&mut Tracer) -> Form,
        visit: impl FnOnce(&mut Tracer, usize) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let Reader { tracer, at } = self;
        tracer.step()?;
        let at = tracer.settle(at, kind, form);
        let again = usize::from(tracer.active.contains(&at));
        tracer.active.push(at);
        tracer.within_itself += again;
        let value = visit(tracer, at);
        tracer.within_itself -= again;
        tracer.active.pop();
        value
    }

    /// Gives a list or a map, with so many items as its offer says: as many as are worth it, one, or none.
    fn items<T>(
        self,
        kind: Kind,
        form: impl FnOnce(&mut Tracer) -> Form,
        visit: impl FnOnce(Parts<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        self.compound(kind, form, |tracer, at| {
            let parts = match tracer.parts[at].form {
                Form::List(item) => vec![item],
                Form::Map(key, value) => vec![key, value],
                _ => Vec::new(),
            };
            let some = match tracer.parts[at].offer {
                0 => tracer.within_itself == 0 && parts.iter().any(|part| tracer.is_worth_it(*part)),
                offer => offer == 1,
            };
            tracer.leaves.push(at);
            visit(Parts { tracer, parts: if some { parts } else { Vec::new() }.into_iter() })
        })
    }
}

impl<'t> Tracer {
    /// Has a part made, and blames what is in it if it cannot be.
    fn make<T>(&mut self, at: usize, make: impl FnOnce(Reader<'_>) -> Result<T, Refused>) -> Result<T, Refused> {
        let before = self.leaves.len();
        let made = make(Reader { tracer: self, at });
        if made.is_err() {
            let leaves = self.leaves[before..].to_vec();
            self.refusing.get_or_insert(leaves);
        }
        made
    }

    fn parts_of(&'t mut self, parts: Vec<usize>) -> Parts<'t> {
        Parts { tracer: self, parts: parts.into_iter() }
    }

    /// The parts of a struct or a tuple.
    fn content(&'t mut self, at: usize) -> Parts<'t> {
        let parts = match &self.parts[at].form {
            Form::Tuple(parts) => parts.clone(),
            Form::Struct(_, content) => content.parts(),
            _ => Vec::new(),
        };
        self.parts_of(parts)
    }
}

fn kind<V>(word: &'static str, name: &'static str, length: usize) -> Kind {
    Kind { visitor: type_name::<V>(), word, name, length }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $word:literal,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            self.number($word, |number| visitor.$visit(number.into()))
        })*
    };
}

/// What bincode, which does not say what it has written, cannot read either.
macro_rules! not_told {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
            self.value("?", |_| Err(Refused))
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Refused;

    numbers! {
        deserialize_u8 visit_u8 "u8",
        deserialize_u16 visit_u16 "u16",
        deserialize_u32 visit_u32 "u32",
        deserialize_u64 visit_u64 "u64",
        deserialize_u128 visit_u128 "u128",
        deserialize_i16 visit_i16 "i16",
        deserialize_i32 visit_i32 "i32",
        deserialize_i64 visit_i64 "i64",
        deserialize_i128 visit_i128 "i128",
        deserialize_f32 visit_f32 "f32",
        deserialize_f64 visit_f64 "f64",
    }

    not_told! { deserialize_any deserialize_identifier deserialize_ignored_any }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.number("i8", |number| visitor.visit_i8(number as i8))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.number("bool", |number| visitor.visit_bool(number != 0))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.number("char", |number| visitor.visit_char((b'0' + number).into()))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.value("str", |offer| visitor.visit_str(TEXTS[offer]))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.value("str", |offer| visitor.visit_string(TEXTS[offer].to_string()))
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.value("bytes", |offer| visitor.visit_bytes(&vec![0; LENGTHS[offer]]))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.value("bytes", |offer| visitor.visit_byte_buf(vec![0; LENGTHS[offer]]))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.value("()", |_| visitor.visit_unit())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let form = |tracer: &mut Tracer| Form::Option(tracer.add());
        self.compound(kind::<V>("option", "", 0), form, |tracer, at| match tracer.parts[at].form {
            Form::Option(some) if tracer.within_itself == 0 && tracer.is_worth_it(some) => {
                tracer.make(some, |reader| visitor.visit_some(reader))
            }
            _ => visitor.visit_none(),
        })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refused> {
        let form = |_: &mut Tracer| Form::Struct(name, Content::None);
        self.compound(kind::<V>("unit struct", name, 0), form, |_, _| visitor.visit_unit())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refused> {
        let form = |tracer: &mut Tracer| Form::Struct(name, Content::Unnamed(tracer.add_all(1)));
        self.compound(kind::<V>("struct", name, 1), form, |tracer, at| {
            let inner = tracer.content(at).parts.next().ok_or(Refused)?;
            tracer.make(inner, |reader| visitor.visit_newtype_struct(reader))
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let form = |tracer: &mut Tracer| Form::List(tracer.add());
        self.items(kind::<V>("list", "", 0), form, |items| visitor.visit_seq(items))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let form = |tracer: &mut Tracer| Form::Map(tracer.add(), tracer.add());
        self.items(kind::<V>("map", "", 0), form, |items| visitor.visit_map(items))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        if length > MAX_TUPLE {
            return Err(Refused);
        }
        let form = |tracer: &mut Tracer| Form::Tuple(tracer.add_all(length));
        self.compound(kind::<V>("tuple", "", length), form, |tracer, at| visitor.visit_seq(tracer.content(at)))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        if length > MAX_TUPLE {
            return Err(Refused);
        }
        let form = |tracer: &mut Tracer| Form::Struct(name, Content::Unnamed(tracer.add_all(length)));
        self.compound(kind::<V>("struct", name, length), form, |tracer, at| visitor.visit_seq(tracer.content(at)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let form = |tracer: &mut Tracer| Form::Struct(name, tracer.named(fields));
        let kind = kind::<V>("struct", name, fields.len());
        self.compound(kind, form, |tracer, at| visitor.visit_seq(tracer.content(at)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let form = |_: &mut Tracer| {
            let variants = variants.iter();
            let variants = variants.map(|name| Variant { name, content: Content::Unknown, tries: 0, completed: None });
            Form::Enum(name, variants.collect())
        };
        self.compound(kind::<V>("enum", name, variants.len()), form, |tracer, of| {
            let place = match &tracer.parts[of].form {
                Form::Enum(_, variants) => tracer.choose(variants).ok_or(Refused)?,
                _ => return Err(Refused),
            };
            let first_try = tracer.variant(of, place).is_some_and(|variant| {
                variant.tries += 1;
                variant.tries == 1
            });
            tracer.advanced |= first_try;
            let value = visitor.visit_enum(VariantReader { tracer: &mut *tracer, of, place })?;
            let completed = tracer.completed_variants;
            let first_value = tracer.variant(of, place).is_some_and(|variant| {
                let first = variant.completed.is_none();
                variant.completed.get_or_insert(completed);
                first
            });
            if first_value {
                tracer.completed_variants += 1;
                tracer.advanced = true;
            }
            Ok(value)
        })
    }

    fn is_human_readable(&self) -> bool {
        false // as bincode
    }
}

/// The parts of a value, one after the other.
struct Parts<'t> {
    tracer: &'t mut Tracer,
    parts: std::vec::IntoIter<usize>,
}

impl Parts<'_> {
    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        let Some(part) = self.parts.next() else { return Ok(None) };
        self.tracer.make(part, |reader| seed.deserialize(reader)).map(Some)
    }
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.parts.len())
    }
}

impl<'de> MapAccess<'de> for Parts<'_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        self.next(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        self.next(seed)?.ok_or(Refused)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.parts.len() / 2)
    }
}

/// A variant of an enum.
struct VariantReader<'t> {
    tracer: &'t mut Tracer,
    of: usize,
    place: usize,
}

impl<'t> VariantReader<'t> {
    /// The parts of the variant, which are noted when they are asked for first.
    fn content(self, content: impl FnOnce(&mut Tracer) -> Content) -> Parts<'t> {
        let VariantReader { tracer, of, place } = self;
        if tracer.variant(of, place).is_some_and(|variant| matches!(variant.content, Content::Unknown)) {
            let content = content(tracer);
            if let Some(variant) = tracer.variant(of, place) {
                variant.content = content;
            }
        }
        let parts = tracer.variant(of, place).map_or_else(Vec::new, |variant| variant.content.parts());
        tracer.parts_of(parts)
    }
}

impl<'de, 't> EnumAccess<'de> for VariantReader<'t> {
    type Error = Refused;
    type Variant = VariantReader<'t>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, VariantReader<'t>), Refused> {
        let number: U32Deserializer<Refused> = (self.place as u32).into_deserializer();
        Ok((seed.deserialize(number)?, self))
    }
}

impl<'de> VariantAccess<'de> for VariantReader<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        self.content(|_| Content::None);
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refused> {
        self.content(|tracer| Content::Unnamed(tracer.add_all(1))).next(seed)?.ok_or(Refused)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        if length > MAX_TUPLE {
            return Err(Refused);
        }
        visitor.visit_seq(self.content(|tracer| Content::Unnamed(tracer.add_all(length))))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(self.content(|tracer| tracer.named(fields)))
    }
}
