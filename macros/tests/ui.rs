//! What the compiler says of programs that use the macros. `TRYBUILD=overwrite cargo test -p tidemill-macros` writes
//! the expected output anew.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
