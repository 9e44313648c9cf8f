//! `#[pipeline]`: before and after each `let` that may bind a stream, a statement: the one after it names the stream and
//! all that was built for it since the one before.
//!
//! Whether the value is a stream only the compiler knows, and often only later than at the `let`: the statement leaves
//! that to `tidemill::__private`. The `let` itself stays as it was written, token by token, so that temporaries,
//! inference and the lines of `#[track_caller]` do too.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Block, Error, Expr, Ident, ItemFn, Local, Pat, Signature, Stmt, Visibility, token};

/// Returns the item with its streams named; or the item as it was, and all that is wrong with it.
pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let error = match (check_args(&args), parse_function(&item)) {
        (Ok(()), Ok(function)) => return name_streams(function).into_token_stream(),
        (Err(error), Ok(_)) | (Ok(()), Err(error)) => error,
        (Err(mut error), Err(other)) => {
            error.combine(other);
            error
        }
    };
    // With the item, so that what uses it does not fail as well.
    let errors = error.to_compile_error();
    quote! { #errors #item }
}

fn name_streams(mut function: ItemFn) -> ItemFn {
    // No stream is made at compile time, and a `const fn` may not call what names one.
    if function.sig.constness.is_none() {
        Namer.visit_block_mut(&mut function.block);
    }
    function
}

fn check_args(args: &TokenStream) -> Result<(), Error> {
    if args.is_empty() {
        return Ok(());
    }
    Err(Error::new_spanned(args, "`#[pipeline]` takes no arguments: streams are named after the variables they are in"))
}

fn parse_function(item: &TokenStream) -> Result<ItemFn, Error> {
    let error = match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => return Ok(function),
        Err(error) => error,
    };
    // The compiler has parsed the item before: it is another item, a function without a body, or newer than syn.
    let explain = |input: ParseStream<'_>| {
        Attribute::parse_outer(input)?;
        input.parse::<Visibility>()?;
        let start = input.span();
        let better = match input.parse::<Signature>() {
            Err(_) => Error::new(start, "`#[pipeline]` goes on a function, whose streams it names"),
            Ok(_) if input.peek(token::Brace) => error,
            Ok(signature) => {
                Error::new_spanned(signature, "`#[pipeline]` goes on a function with a body, whose streams it names")
            }
        };
        input.parse::<TokenStream>()?;
        Ok(better)
    };
    Err(explain.parse2(item.clone()).unwrap_or_else(|error| error))
}

/// Adds the statements, in the blocks that run as part of the function.
struct Namer;

impl VisitMut for Namer {
    fn visit_block_mut(&mut self, block: &mut Block) {
        visit_mut::visit_block_mut(self, block);
        name_bindings(&mut block.stmts);
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        // Another function, another time, or the compiler's.
        if !matches!(expr, Expr::Closure(_) | Expr::Async(_) | Expr::Const(_)) {
            visit_mut::visit_expr_mut(self, expr);
        }
    }

    fn visit_expr_repeat_mut(&mut self, repeat: &mut syn::ExprRepeat) {
        self.visit_expr_mut(&mut repeat.expr); // and not the length, a constant
    }

    fn visit_item_mut(&mut self, _: &mut syn::Item) {}

    // Blocks in these are constants.
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_pat_mut(&mut self, _: &mut Pat) {}
    fn visit_path_mut(&mut self, _: &mut syn::Path) {}
    fn visit_angle_bracketed_generic_arguments_mut(&mut self, _: &mut syn::AngleBracketedGenericArguments) {}
}

fn name_bindings(statements: &mut Vec<Stmt>) {
    let mut mentions = Mentions::default();
    let mut reversed = Vec::with_capacity(3 * statements.len());
    for statement in statements.drain(..).rev() {
        if let Stmt::Local(local) = &statement {
            // To name what is never used would silence the compiler's warning, for a stream that never runs.
            let naming = binding(local).filter(|name| mentions.contain(name)).map(|name| naming(local, name));
            mentions.add(local.to_token_stream());
            match naming {
                Some([before, after]) => reversed.extend([after, statement, before]),
                None => reversed.push(statement),
            }
            continue;
        }
        mentions.add(statement.to_token_stream());
        reversed.push(statement);
    }
    statements.extend(reversed.into_iter().rev());
}

/// The variable, of a `let` that binds one and whose value may be a stream.
fn binding(local: &Local) -> Option<&Ident> {
    let init = local.init.as_ref()?;
    let mut pattern = &local.pat;
    while let Pat::Type(typed) = pattern {
        pattern = &typed.pat;
    }
    match pattern {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => {
            (init.diverge.is_none() && may_be_stream(&init.expr)).then_some(&name.ident)
        }
        _ => None,
    }
}

/// Spares the compiler what is something else by its looks.
fn may_be_stream(expr: &Expr) -> bool {
    !matches!(
        expr,
        Expr::Array(_)
            | Expr::Assign(_)
            | Expr::Async(_)
            | Expr::Binary(_)
            | Expr::Break(_)
            | Expr::Cast(_)
            | Expr::Closure(_)
            | Expr::Continue(_)
            | Expr::ForLoop(_)
            | Expr::Lit(_)
            | Expr::Range(_)
            | Expr::RawAddr(_)
            | Expr::Reference(_)
            | Expr::Repeat(_)
            | Expr::Return(_)
            | Expr::Struct(_)
            | Expr::Tuple(_)
            | Expr::While(_)
    )
}

/// The statements before and after a `let` that name `variable` if it is a stream; they are there when the `let` is.
fn naming(local: &Local, variable: &Ident) -> [Stmt; 2] {
    let conditions: Vec<_> = local.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect();
    let name = variable.unraw().to_string();
    // The path of the macro's user, the variables of nobody else.
    let here = Span::mixed_site();
    let before = quote_spanned! {here=> #(#conditions)* let __mark = ::tidemill::__private::mark(); };
    let after = quote_spanned! {here=>
        #(#conditions)*
        #[allow(trivial_casts, unreachable_code)]
        {
            let __probe = ::tidemill::__private::probe(&#variable);
            ::tidemill::__private::name_binding(
                &#variable,
                #name,
                __mark,
                &__probe,
                &__probe as &::tidemill::__private::Probe<_, _, _>,
            );
            let __probe = ::tidemill::__private::stateful_probe(&#variable);
            ::tidemill::__private::name_stateful_binding(
                &#variable,
                #name,
                __mark,
                &__probe,
                &__probe as &::tidemill::__private::Probe<_, _, _>,
            );
        }
    };
    [before, after].map(|tokens| Stmt::Expr(Expr::Verbatim(tokens), None))
}

/// The variables that statements may use: every identifier in them, and every string, which may be a format.
#[derive(Default)]
struct Mentions {
    identifiers: HashSet<String>,
    literals: Vec<String>,
}

impl Mentions {
    fn add(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.add(group.stream()),
                TokenTree::Ident(identifier) => drop(self.identifiers.insert(identifier.unraw().to_string())),
                TokenTree::Literal(literal) => self.literals.push(literal.to_string()),
                TokenTree::Punct(_) => {}
            }
        }
    }

    fn contain(&self, variable: &Ident) -> bool {
        let name = variable.unraw().to_string();
        self.identifiers.contains(&name) || self.literals.iter().any(|literal| literal.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The variables that the expansion names, in their order.
    fn named(item: TokenStream) -> Vec<String> {
        let expansion = expand(TokenStream::new(), item).to_string();
        assert!(!expansion.contains("compile_error"), "{expansion}");
        let calls = expansion.split(":: name_binding (& ").skip(1);
        calls.map(|call| call.split(' ').next().unwrap().to_string()).collect()
    }

    /// The messages of the expansion, which ends in the item as it was.
    fn errors(args: TokenStream, item: TokenStream) -> Vec<String> {
        let expansion = expand(args, item.clone()).to_string();
        assert!(expansion.ends_with(&item.to_string()), "{expansion}");
        let messages = expansion.split("compile_error ! { \"").skip(1);
        messages.map(|message| message.split("\" }").next().unwrap().to_string()).collect()
    }

    #[test]
    fn the_statements_stand_around_the_let() {
        let function = quote! {
            pub async fn build<T: Data>(&self, numbers: DStream<T>) -> DStream<T> {
                #![allow(unused)]
                let mut r#type: DStream<T> = numbers.count();
                r#type
            }
        };
        let expected = quote! {
            pub async fn build<T: Data>(&self, numbers: DStream<T>) -> DStream<T> {
                #![allow(unused)]
                let __mark = ::tidemill::__private::mark();
                let mut r#type: DStream<T> = numbers.count();
                #[allow(trivial_casts, unreachable_code)]
                {
                    let __probe = ::tidemill::__private::probe(&r#type);
                    ::tidemill::__private::name_binding(
                        &r#type,
                        "type",
                        __mark,
                        &__probe,
                        &__probe as &::tidemill::__private::Probe<_, _, _>,
                    );
                    let __probe = ::tidemill::__private::stateful_probe(&r#type);
                    ::tidemill::__private::name_stateful_binding(
                        &r#type,
                        "type",
                        __mark,
                        &__probe,
                        &__probe as &::tidemill::__private::Probe<_, _, _>,
                    );
                }
                r#type
            }
        };
        assert_eq!(expand(TokenStream::new(), function).to_string(), expected.to_string());
    }

    #[test]
    fn bindings_of_one_name_are_named() {
        assert_eq!(named(quote! { fn f() { let a = x(); let mut b: S = a; b } }), ["a", "b"]);
        assert_eq!(
            named(quote! { fn f() { if c { let a = x(); a.print() } else { loop { let b = y()?; b.go() } } } }),
            ["a", "b"]
        );
        assert_eq!(
            named(
                quote! { fn f() { let a = { let b = x(); b.g() }; unsafe { let c = match a { _ => { let d = a; d } }; c } } }
            ),
            ["b", "a", "d", "c"]
        );
        // Of two bindings of one name each is named.
        assert_eq!(named(quote! { fn f() { let a = x(); let a = a.map(g); a } }), ["a", "a"]);
    }

    #[test]
    fn other_patterns_are_left_alone() {
        assert!(named(quote! { fn f() { let (a, b) = x(); let S { c } = y(); a + b + c } }).is_empty());
        assert!(named(quote! { fn f() { let ref a = x(); let b @ _ = y(); let _ = z(); a + b } }).is_empty());
        assert!(named(quote! { fn f() { let a; a = x(); let c = y() else { return }; a + c } }).is_empty());
    }

    #[test]
    fn values_that_are_no_streams_by_their_looks_are_left_alone() {
        assert!(
            named(quote! { fn f() { let a = 1; let b = &s; let c = |x| x; let d = (s, s); g(a, b, c, d) } }).is_empty()
        );
        assert!(
            named(quote! { fn f() { let a = [s]; let b = P { s }; let c = a as u8; let d = a + b; g(a, b, c, d) } })
                .is_empty()
        );
    }

    #[test]
    fn what_does_not_run_in_the_function_is_left_alone() {
        assert!(
            named(quote! { fn f() { g(|| { let a = x(); a }); async { let b = x(); b }; const { let c = x(); c } } })
                .is_empty()
        );
        assert!(
            named(
                quote! { fn f() { fn g() { let a = x(); a } mod s { fn h() { let a = x(); a } } m!(let b = x(); b) } }
            )
            .is_empty()
        );
        assert!(
            named(
                quote! { fn f() { [0; { let a = x(); a }]; g::<{ let b = x(); b }>(); y.h::<{ let c = x(); c }>() } }
            )
            .is_empty()
        );
        assert!(named(quote! { const fn f() -> u8 { let a = x(); a } }).is_empty());
    }

    #[test]
    fn what_is_never_used_is_left_to_the_compilers_warning() {
        assert!(named(quote! { fn f() { a; let a = x(); } }).is_empty());
        assert!(named(quote! { fn f() { { let a = x(); } a } }).is_empty());
        assert_eq!(named(quote! { fn f() { let a = x(); println!("{a:?}"); } }), ["a"]);
        assert_eq!(named(quote! { fn f() { let r#a = x(); m!((a)); } }), ["r#a"]);
    }

    #[test]
    fn a_name_is_there_when_the_let_is() {
        let function = quote! { fn f() { #[cfg(test)] #[allow(unused_mut)] let mut a = x(); a } };
        let expansion = expand(TokenStream::new(), function).to_string();
        for attributes in
            [quote! { #[cfg(test)] let __mark = }, quote! { ; #[cfg(test)] #[allow(trivial_casts, unreachable_code)] }]
        {
            assert!(expansion.contains(&attributes.to_string()), "{expansion}");
        }
    }

    #[test]
    fn all_errors_are_reported() {
        let takes_none = "`#[pipeline]` takes no arguments: streams are named after the variables they are in";
        let function = "`#[pipeline]` goes on a function, whose streams it names";
        let body = "`#[pipeline]` goes on a function with a body, whose streams it names";
        assert_eq!(errors(quote! { name = "a" }, quote! { fn f() { let a = x(); a } }), [takes_none]);
        assert_eq!(errors(quote! {}, quote! { pub struct S; }), [function]);
        assert_eq!(errors(quote! {}, quote! { impl S { fn f() {} } }), [function]);
        assert_eq!(errors(quote! {}, quote! { #[doc = "x"] fn f(&self); }), [body]);
        assert_eq!(errors(quote! { a, b }, quote! { const X: u8 = 1; }), [takes_none, function]);
    }
}
