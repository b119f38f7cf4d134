use super::*;

#[test]
fn what_is_not_code_is_blank() {
    let rows = [
        ("a // b", "a     "),
        ("a /* b /* c */ d */ e", "a                   e"),
        (r#"a("b\"c", d)"#, "a(      , d)"),
        ("a(r#\"b\"c\"#, d)", "a(        , d)"),
        ("br\"x\" for\"y\"", "      for   "),
        ("match c { '\"' => 'x', '\\'' => '\\u{1}' }", "match c {     =>    ,      =>         }"),
        ("fn a<'b>(c: &'b str)", "fn a<'b>(c: &'b str)"),
        ("a \"b\nc\" d", "a   \n   d"),
    ];
    for (text, expected) in rows {
        assert_eq!(code(text), expected, "{text}");
    }
}

#[test]
fn lines_of_code_are_those_that_are_not_blank() {
    assert_eq!(code_lines(&code("//! a\n\nfn b() {}\n// c\nfn d() {} // e\n")), 2);
}

#[test]
fn a_module_of_tests_at_the_end_is_left_out() {
    assert_eq!(without_tests("fn a() {}\n#[cfg(test)]\nmod tests {\n}\n"), "fn a() {}\n");
    let sibling = "#[cfg(test)]\nmod tests;\n";
    assert_eq!(without_tests(sibling), sibling);
}
