//! Mistakes that do not compile, and what the compiler says about them: the message is part of the interface.

/// The texts are those of Rust 1.95; after an update, look at what `TRYBUILD=overwrite` makes of them.
#[test]
fn mistakes_are_explained() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
