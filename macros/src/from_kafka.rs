//! `#[derive(FromKafka)]`: a struct each of whose fields takes a part of a Kafka message.
//!
//! How bytes become values the library knows: `tidemill::__private::kafka` has a function for each way, and the
//! expansion calls it with the field's name and type.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Field, GenericArgument, GenericParam, Generics, Ident, Item, ItemStruct, LitStr, Member, Meta,
    PathArguments, Token, Type, WherePredicate, parse_quote,
};

const PARTS: &str = "`key`, `value`, `header = \"name\"`, `headers`, `topic`, `partition`, `offset` or `timestamp`";

/// Returns the implementation; or all that is wrong, and one that stands in, so that what uses it does not fail as well.
pub(crate) fn expand(item: TokenStream) -> TokenStream {
    match syn::parse2(item) {
        Ok(Item::Struct(item)) => {
            implement(&item).unwrap_or_else(|errors| stand_in(&item.ident, &item.generics, &errors))
        }
        Ok(Item::Enum(item)) => {
            let error = no_struct(&item.enum_token, "which variant it is, no part of a message says");
            stand_in(&item.ident, &item.generics, &error)
        }
        Ok(Item::Union(item)) => {
            let error = no_struct(&item.union_token, "what a union holds, no part of a message says");
            stand_in(&item.ident, &item.generics, &error)
        }
        Ok(other) => no_struct(&other, "it takes a part of a message for each field").to_compile_error(),
        Err(error) => error.to_compile_error(),
    }
}

fn no_struct(what: &impl ToTokens, why: &str) -> Error {
    Error::new_spanned(
        what,
        format!("`#[derive(FromKafka)]` goes on a struct: {why}; implement `FromKafka` or `Decode` by hand"),
    )
}

fn stand_in(name: &Ident, generics: &Generics, error: &Error) -> TokenStream {
    let errors = error.to_compile_error();
    let implementation = implementation(name, generics, &[], &quote! { ::core::unreachable!() });
    quote! { #errors #implementation }
}

fn implementation(name: &Ident, generics: &Generics, conditions: &[WherePredicate], body: &TokenStream) -> TokenStream {
    let (parameters, arguments, given) = generics.split_for_impl();
    let given = given.into_iter().flat_map(|given| &given.predicates);
    let message = message(Span::mixed_site());
    quote! {
        #[automatically_derived]
        impl #parameters ::tidemill::kafka::FromKafka for #name #arguments
        where
            #(#given,)*
            #(#conditions,)*
        {
            fn from_kafka(#message: &::tidemill::kafka::KafkaMessage<'_>) -> ::tidemill::Result<Self> {
                #body
            }
        }
    }
}

/// The variable of the expansion, which nothing of the program is called like. Errors are shown at `here`.
fn message(here: Span) -> Ident {
    Ident::new("message", here.resolved_at(Span::mixed_site()))
}

fn implement(item: &ItemStruct) -> Result<TokenStream, Error> {
    let mut errors = Vec::new();
    for attribute in item.attrs.iter().filter(|attribute| is_ours(attribute)) {
        let message = "`#[kafka(..)]` goes on the fields: each says which part of a message it takes. For a whole value \
                       in JSON, let the struct derive `serde::Deserialize` and use `kafka::Json` of it";
        errors.push(Error::new_spanned(attribute, message));
    }
    for lifetime in item.generics.lifetimes() {
        let message = "a record outlives the message that it is made of and cannot borrow from it: own the data \
                       (`String`, not `&str`)";
        errors.push(Error::new_spanned(lifetime, message));
    }
    let (mut values, mut conditions) = (Vec::new(), Vec::new());
    for (member, field) in item.fields.members().zip(&item.fields) {
        match Taken::parse(&member, field) {
            Ok(taken) => {
                let value = taken.value();
                values.push(quote! { #member: #value });
                if mentions_parameter(&field.ty, &item.generics) {
                    conditions.extend(taken.condition());
                }
            }
            Err(error) => errors.push(error),
        }
    }
    match errors.into_iter().reduce(combined) {
        Some(errors) => Err(errors),
        None => {
            let body = quote! { ::core::result::Result::Ok(Self { #(#values),* }) };
            Ok(implementation(&item.ident, &item.generics, &conditions, &body))
        }
    }
}

fn combined(mut all: Error, error: Error) -> Error {
    all.combine(error);
    all
}

fn is_ours(attribute: &Attribute) -> bool {
    attribute.path().is_ident("kafka")
}

/// Whether the type depends on a type parameter: what it has to be, is then for the user of the struct to see to.
fn mentions_parameter(of: &Type, generics: &Generics) -> bool {
    fn any(tokens: TokenStream, is_parameter: &impl Fn(&Ident) -> bool) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(name) => is_parameter(&name),
            TokenTree::Group(group) => any(group.stream(), is_parameter),
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        })
    }
    any(of.to_token_stream(), &|name| {
        generics.params.iter().any(|parameter| matches!(parameter, GenericParam::Type(of) if of.ident == *name))
    })
}

/// A field and what it takes from the message.
struct Taken<'f> {
    /// What errors call it.
    name: String,
    of: &'f Type,
    part: Part,
}

/// A part of a message, as an attribute names it.
enum Part {
    Key(Format),
    Value(Format),
    Header(LitStr, Format),
    Headers,
    Topic,
    Partition,
    Offset,
    Timestamp,
}

/// How bytes become a value.
#[derive(Clone, Copy)]
enum Format {
    /// As the type says.
    Decode,
    Utf8,
    Json,
    Bytes,
}

impl<'f> Taken<'f> {
    fn parse(member: &Member, field: &'f Field) -> Result<Self, Error> {
        let name = match member {
            Member::Named(name) => name.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        let mut attributes = field.attrs.iter().filter(|attribute| is_ours(attribute));
        let Some(first) = attributes.next() else {
            let at = field.ident.as_ref().map_or_else(|| field.ty.to_token_stream(), ToTokens::to_token_stream);
            let message =
                format!("field {name} takes nothing from the message: write `#[kafka(..)]` before it, with {PARTS}");
            return Err(Error::new_spanned(at, message));
        };
        let part = Part::parse(first);
        let more =
            attributes.map(|more| Error::new_spanned(more, "a field takes one part of a message, this is one more"));
        match part.as_ref().err().cloned().into_iter().chain(more).reduce(combined) {
            Some(errors) => Err(errors),
            None => part.map(|part| Taken { name, of: &field.ty, part }),
        }
    }

    /// The expression that makes the field's value.
    fn value(&self) -> TokenStream {
        let Taken { name, of, part } = self;
        let here = of.span().resolved_at(Span::mixed_site());
        let (run, message) = (library(here), message(here));
        let decoded = |part: TokenStream, format: Format| match (format.way(here), inside_option(of)) {
            (None, _) => quote_spanned! {here=> #run::decoded::<#of>(#message, #name, #run::Part::#part)? },
            (Some((_, read)), Some(inner)) => quote_spanned! {here=>
                #run::optional::<#inner>(#message, #name, #run::Part::#part, |bytes| #run::#read(bytes))?
            },
            (Some((_, read)), None) => quote_spanned! {here=>
                #run::required::<#of>(#message, #name, #run::Part::#part, |bytes| #run::#read(bytes))?
            },
        };
        match part {
            Part::Key(format) => decoded(quote! { Key }, *format),
            Part::Value(format) => decoded(quote! { Value }, *format),
            Part::Header(header, format) => decoded(quote! { Header(#header) }, *format),
            Part::Headers => quote_spanned! {here=> <#of as #run::FromHeaders>::from_headers(#message) },
            Part::Topic => quote_spanned! {here=> <#of as #run::FromTopic>::from_topic(#message.topic()) },
            Part::Partition => quote_spanned! {here=> #message.partition() },
            Part::Offset => quote_spanned! {here=> #message.offset() },
            Part::Timestamp if inside_option(of).is_some() => quote_spanned! {here=> #message.timestamp() },
            Part::Timestamp => quote_spanned! {here=> #run::timestamp(#message, #name)? },
        }
    }

    /// What the type has to be for that.
    fn condition(&self) -> Option<WherePredicate> {
        let Taken { of, part, .. } = self;
        let run = library(of.span());
        match part {
            Part::Key(format) | Part::Value(format) | Part::Header(_, format) => Some(match format.way(of.span()) {
                None => parse_quote! { #of: ::tidemill::kafka::Decode },
                Some((way, _)) => {
                    let decoded = inside_option(of).unwrap_or(of);
                    parse_quote! { #decoded: #run::#way }
                }
            }),
            Part::Headers => Some(parse_quote! { #of: #run::FromHeaders }),
            Part::Topic => Some(parse_quote! { #of: #run::FromTopic }),
            Part::Partition | Part::Offset | Part::Timestamp => None,
        }
    }
}

/// What the library has for the expansion. Errors are shown at `here`.
fn library(here: Span) -> TokenStream {
    quote_spanned! {here.resolved_at(Span::mixed_site())=> ::tidemill::__private::kafka }
}

impl Format {
    /// The trait of the types that can be read in this way, and the function that does.
    fn way(self, here: Span) -> Option<(Ident, Ident)> {
        let (way, read) = match self {
            Format::Decode => return None,
            Format::Utf8 => ("FromText", "text"),
            Format::Json => ("FromJson", "json"),
            Format::Bytes => ("FromBytes", "bytes"),
        };
        let here = here.resolved_at(Span::mixed_site());
        Some((Ident::new(way, here), Ident::new(read, here)))
    }

    /// What follows a part: `= json`, or nothing.
    fn after_equals(input: ParseStream<'_>) -> Result<Self, Error> {
        if input.parse::<Option<Token![=]>>()?.is_some() { Format::parse(input) } else { Ok(Format::Decode) }
    }

    fn parse(input: ParseStream<'_>) -> Result<Self, Error> {
        let expected = "expected a format: `utf8`, `json` or `bytes`";
        if let Some(text) = input.parse::<Option<LitStr>>()? {
            let value = text.value();
            let is_format = matches!(&*value, "utf8" | "json" | "bytes");
            let message = if is_format { format!("a format has no quotes: `{value}`") } else { expected.to_string() };
            return Err(Error::new_spanned(text, message));
        }
        let name = input.call(Ident::parse_any).map_err(|error| Error::new(error.span(), expected))?;
        match &*name.to_string() {
            "utf8" => Ok(Format::Utf8),
            "json" => Ok(Format::Json),
            "bytes" => Ok(Format::Bytes),
            other => {
                let message = format!(
                    "`{other}` is no format: expected `utf8`, `json` or `bytes`; for one of your own leave it out and \
                     implement `tidemill::kafka::Decode` for the type"
                );
                Err(Error::new_spanned(name, message))
            }
        }
    }
}

impl Part {
    fn parse(attribute: &Attribute) -> Result<Self, Error> {
        let Meta::List(list) = &attribute.meta else {
            return Err(Error::new_spanned(
                attribute,
                format!("which part of the message? `#[kafka(..)]` takes {PARTS}"),
            ));
        };
        if list.tokens.is_empty() {
            return Err(Error::new_spanned(
                attribute,
                format!("which part of the message? `#[kafka(..)]` takes {PARTS}"),
            ));
        }
        list.parse_args_with(|input: ParseStream<'_>| {
            let part = Part::named(input)?;
            input.parse::<Option<Token![,]>>()?;
            if input.is_empty() {
                return Ok(part);
            }
            Err(Error::new_spanned(input.parse::<TokenStream>()?, part.what_may_follow()))
        })
    }

    fn named(input: ParseStream<'_>) -> Result<Self, Error> {
        let unknown = |what: &str| format!("{what} is no part of a message: `#[kafka(..)]` takes {PARTS}");
        let name = input.call(Ident::parse_any).map_err(|error| Error::new(error.span(), unknown("this")))?;
        let part = match &*name.to_string() {
            "key" => Part::Key(Format::after_equals(input)?),
            "value" => Part::Value(Format::after_equals(input)?),
            "header" => {
                let which = "which header? Its name is a string: `header = \"name\"`";
                if input.parse::<Option<Token![=]>>()?.is_none() {
                    return Err(Error::new_spanned(name, which));
                }
                let header = input.parse::<LitStr>().map_err(|error| Error::new(error.span(), which))?;
                let has_format = input.peek(Token![,]) && !input.peek2(syn::parse::End);
                let format = if has_format {
                    input.parse::<Token![,]>()?;
                    Format::parse(input)?
                } else {
                    Format::Decode
                };
                Part::Header(header, format)
            }
            "headers" => Part::Headers,
            "topic" => Part::Topic,
            "partition" => Part::Partition,
            "offset" => Part::Offset,
            "timestamp" => Part::Timestamp,
            other => return Err(Error::new_spanned(&name, unknown(&format!("`{other}`")))),
        };
        Ok(part)
    }

    /// What is wrong with anything after the part.
    fn what_may_follow(&self) -> &'static str {
        match self {
            Part::Key(Format::Decode) => "a field takes one part of a message; a format is written `key = json`",
            Part::Value(Format::Decode) => "a field takes one part of a message; a format is written `value = json`",
            Part::Key(_) | Part::Value(_) | Part::Header(..) => "a field takes one part of a message, in one format",
            Part::Headers | Part::Topic | Part::Partition | Part::Offset | Part::Timestamp => {
                "a field takes one part of a message, and this part has no format"
            }
        }
    }
}

/// The type in an `Option`, as far as its looks tell.
fn inside_option(of: &Type) -> Option<&Type> {
    let path = match of {
        Type::Path(path) if path.qself.is_none() => &path.path,
        // What a `macro_rules!` has put in.
        Type::Group(group) => return inside_option(&group.elem),
        Type::Paren(inner) => return inside_option(&inner.elem),
        _ => return None,
    };
    let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if !matches!(&names[..], ["Option"] | ["option", "Option"] | ["std" | "core", "option", "Option"]) {
        return None;
    }
    match &path.segments.last()?.arguments {
        PathArguments::AngleBracketed(arguments) if arguments.args.len() == 1 => match arguments.args.first()? {
            GenericArgument::Type(inner) => Some(inner),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of the expansion, which ends in an implementation that stands in.
    fn errors(item: TokenStream) -> Vec<String> {
        let expansion = expand(item).to_string();
        assert!(expansion.contains("unreachable ! ()"), "{expansion}");
        let messages = expansion.split("compile_error ! { \"").skip(1);
        messages.map(|message| message.split("\" }").next().unwrap().replace("\\\"", "\"")).collect()
    }

    /// What is wrong with a field that has these attributes.
    fn error(attributes: TokenStream) -> String {
        let mut errors = errors(quote! { struct Click { #attributes user: String } });
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.remove(0)
    }

    #[test]
    fn each_field_takes_its_part() {
        let item = quote! {
            pub struct Click {
                /// Documentation is no obstacle.
                #[kafka(key = utf8)]
                r#type: u32,
                #[kafka(header = "trace", json)]
                trace: Option<Trace>,
                #[kafka(timestamp)]
                at: Time,
                #[kafka(offset)]
                offset: i64,
            }
        };
        let expected = quote! {
            #[automatically_derived]
            impl ::tidemill::kafka::FromKafka for Click
            where
            {
                fn from_kafka(message: &::tidemill::kafka::KafkaMessage<'_>) -> ::tidemill::Result<Self> {
                    ::core::result::Result::Ok(Self {
                        r#type: ::tidemill::__private::kafka::required::<u32>(
                            message,
                            "type",
                            ::tidemill::__private::kafka::Part::Key,
                            |bytes| ::tidemill::__private::kafka::text(bytes)
                        )?,
                        trace: ::tidemill::__private::kafka::optional::<Trace>(
                            message,
                            "trace",
                            ::tidemill::__private::kafka::Part::Header("trace"),
                            |bytes| ::tidemill::__private::kafka::json(bytes)
                        )?,
                        at: ::tidemill::__private::kafka::timestamp(message, "at")?,
                        offset: message.offset()
                    })
                }
            }
        };
        assert_eq!(expand(item).to_string(), expected.to_string());
    }

    #[test]
    fn fields_of_tuples_are_numbered() {
        let expansion = expand(quote! { struct Pair(#[kafka(topic,)] String, #[kafka(value)] Body); }).to_string();
        let first = quote! { 0: <String as ::tidemill::__private::kafka::FromTopic>::from_topic(message.topic()), 1: };
        let second = quote! {
            ::tidemill::__private::kafka::decoded::<Body>(
                message, "1", ::tidemill::__private::kafka::Part::Value
            )?
        };
        assert!(expansion.contains(&format!("{{ {first} {second} }}")), "{expansion}");
    }

    #[test]
    fn what_depends_on_a_parameter_is_a_condition() {
        let item = quote! {
            struct Event<T: Clone = u8, const N: usize = 1> where T: Copy {
                #[kafka(value = json)]
                body: Option<Vec<T>>,
                #[kafka(key)]
                key: T,
                #[kafka(topic)]
                topic: String,
            }
        };
        let expected = [
            quote! { impl<T: Clone, const N: usize> ::tidemill::kafka::FromKafka for Event<T, N> },
            quote! { T: Copy, Vec<T>: ::tidemill::__private::kafka::FromJson, T: ::tidemill::kafka::Decode, },
        ];
        let (impl_for, conditions) = (expected[0].to_string(), expected[1].to_string());
        let expansion = expand(item).to_string();
        assert!(expansion.contains(&format!("{impl_for} where {conditions} {{")), "{expansion}");
    }

    #[test]
    fn an_option_is_known_by_its_looks() {
        let inner = |of: TokenStream| {
            let of: Type = syn::parse2(of).unwrap();
            inside_option(&of).map(|inner| inner.to_token_stream().to_string())
        };
        for option in [quote! { Option<u8> }, quote! { std::option::Option<u8> }, quote! { ::core::option::Option<u8> }]
        {
            assert_eq!(inner(option).as_deref(), Some("u8"));
        }
        for other in [quote! { Vec<u8> }, quote! { my::Option<u8> }, quote! { Option }, quote! { (Option<u8>,) }] {
            assert_eq!(inner(other), None);
        }
    }

    #[test]
    fn mistakes_in_an_attribute() {
        let parts = "`#[kafka(..)]` takes `key`, `value`, `header = \"name\"`, `headers`, `topic`, `partition`, `offset` or \
                     `timestamp`";
        let which = format!("which part of the message? {parts}");
        for attribute in [quote! { #[kafka] }, quote! { #[kafka()] }, quote! { #[kafka = "key"] }] {
            assert_eq!(error(attribute), which);
        }
        assert_eq!(error(quote! { #[kafka(valeu)] }), format!("`valeu` is no part of a message: {parts}"));
        assert_eq!(error(quote! { #[kafka("key")] }), format!("this is no part of a message: {parts}"));
        assert_eq!(error(quote! { #[kafka(value = "json")] }), "a format has no quotes: `json`");
        assert_eq!(error(quote! { #[kafka(value =)] }), "expected a format: `utf8`, `json` or `bytes`");
        assert_eq!(error(quote! { #[kafka(value = "x")] }), "expected a format: `utf8`, `json` or `bytes`");
        assert!(
            error(quote! { #[kafka(value = avro)] }).starts_with("`avro` is no format: expected `utf8`, `json` or")
        );
        let header = "which header? Its name is a string: `header = \"name\"`";
        for attribute in
            [quote! { #[kafka(header)] }, quote! { #[kafka(header = trace)] }, quote! { #[kafka(header =)] }]
        {
            assert_eq!(error(attribute), header);
        }
        let one = "a field takes one part of a message";
        assert_eq!(error(quote! { #[kafka(value, json)] }), format!("{one}; a format is written `value = json`"));
        assert_eq!(error(quote! { #[kafka(key = utf8, value)] }), format!("{one}, in one format"));
        assert_eq!(error(quote! { #[kafka(header = "a", utf8, json)] }), format!("{one}, in one format"));
        assert_eq!(error(quote! { #[kafka(offset = utf8)] }), format!("{one}, and this part has no format"));
        assert_eq!(error(quote! { #[kafka(key)] #[kafka(value)] }), format!("{one}, this is one more"));
        assert!(error(quote! { #[serde(skip)] }).starts_with("field user takes nothing from the message: write `#["));
    }

    #[test]
    fn all_errors_are_reported() {
        let found = errors(quote! {
            #[kafka(value = json)]
            struct Click<'a> { user: &'a str, #[kafka(valeu)] #[kafka(key)] cents: u64 }
        });
        let starts = [
            "`#[kafka(..)]` goes on the fields: ",
            "a record outlives the message ",
            "field user takes nothing ",
            "`valeu` is no part ",
            "a field takes one part of a message, this is one more",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        assert!(found.iter().zip(starts).all(|(found, start)| found.starts_with(start)), "{found:#?}");
    }

    #[test]
    fn only_structs_are_built() {
        assert!(
            errors(quote! { enum Click { A, B } })[0].starts_with("`#[derive(FromKafka)]` goes on a struct: which")
        );
        assert!(
            errors(quote! { union Click { a: u8 } })[0].starts_with("`#[derive(FromKafka)]` goes on a struct: what")
        );
    }
}
