//! What the compiler says of records, keys and values that cannot be what they are used as: a newcomer has to see the
//! words of `src/data.rs`.

/// What the messages tell people to write. Compiled here: trybuild would build it, where it only checks the others.
#[path = "pass/records_keys_and_values.rs"]
mod pass;

/// The rest of a message is the compiler's own and changes with it. To write the files anew:
/// `TRYBUILD=overwrite cargo test --test ui`.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn messages_of_the_compiler() {
    pass::main();
    let version = std::process::Command::new("rustc").arg("--version").output().expect("rustc can be asked");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if !version.starts_with(COMPILER) {
        eprintln!("not checked: the messages in tests/ui/fail are those of {COMPILER}x, this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("fail/*.rs");
}
