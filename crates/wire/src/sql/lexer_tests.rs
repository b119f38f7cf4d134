use super::*;

/// The tokens of a text, each by a letter and its bytes; `!` at the end where the text is cut.
fn tokens(sql: &str, backslash: bool) -> String {
    let mut lexer = Lexer::new(sql.as_bytes(), backslash);
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token() {
        let text = &sql[lexer.start()..lexer.position()];
        tokens.push(match token {
            Token::Word(_) => format!("w:{text}"),
            Token::Quoted(inner) => format!("q:{}", str::from_utf8(inner).unwrap()),
            Token::Unicode => format!("u:{text}"),
            Token::Text => format!("t:{text}"),
            Token::Number => format!("n:{text}"),
            Token::Parameter => format!("p:{text}"),
            Token::Symbol(symbol) => char::from(symbol).to_string(),
        });
    }
    if lexer.cut().is_some() {
        tokens.push("!".to_owned());
    }
    tokens.join(" | ")
}

#[test]
fn tokens_are_cut_as_postgresql_cuts_them() {
    for (sql, expected) in [
        ("", ""),
        (" \t\r\n\x0b\x0c", ""),
        ("SELECT 1", "w:SELECT | n:1"),
        ("a$b _c é1", "w:a$b | w:_c | w:é1"),
        ("1a 1.5e3", "n:1 | w:a | n:1 | . | n:5 | w:e3"),
        ("$1 $12x", "p:$1 | p:$12 | w:x"),
        ("a<>b;", "w:a | < | > | w:b | ;"),
        // strings
        ("'a''b'", "t:'a''b'"),
        (r"'a\' b", r"t:'a\' | w:b"),
        (r"E'a\' b'", r"t:E'a\' b'"),
        (r"e'a\\' b", r"t:e'a\\' | w:b"),
        (r"E'a''\'' b", r"t:E'a''\'' | w:b"),
        (r"E'a\", r"t:E'a\ | !"),
        ("B'01' x'ff' N'x'", "t:B'01' | t:x'ff' | t:N'x'"),
        (r"U&'\0041' u&'b'", r"t:U&'\0041' | t:u&'b'"),
        (r"U&'\' b", r"t:U&'\' | w:b"),
        ("U & 'b'", "w:U | & | t:'b'"),
        (r"type'a\' b", r"w:type | t:'a\' | w:b"),
        ("'a", "t:'a | !"),
        // strings go on across lines, by the rules of their first part
        ("E'a'\n '\\' b'", "t:E'a'\n '\\' b'"),
        ("E'a' -- c\n '\\' b'", "t:E'a' -- c\n '\\' b'"),
        ("E'a' '\\' b", "t:E'a' | t:'\\' | w:b"),
        ("E'a'\n/**/'\\' b", "t:E'a' | t:'\\' | w:b"),
        ("'a'\n'\\' b", "t:'a' | t:'\\' | w:b"),
        // names
        (r#""a;""b" c"#, r#"q:a;""b | w:c"#),
        (r#""""#, "q:"),
        (r#"U&"a;\0041""#, r#"u:U&"a;\0041""#),
        (r#""a"#, "q:a | !"),
        // dollar quotes
        ("$$a;'b$$ c", "t:$$a;'b$$ | w:c"),
        ("$a$ $b$ $$ $a$ c", "t:$a$ $b$ $$ $a$ | w:c"),
        ("$a$ $A$", "t:$a$ $A$ | !"),
        ("$é_1$x$é_1$", "t:$é_1$x$é_1$"),
        ("$1$x", "p:$1 | $ | w:x"),
        ("$a b$", "$ | w:a | w:b$"),
        ("a$$b$$", "w:a$$b$$"),
        ("1$$b$$", "n:1 | t:$$b$$"),
        ("$", "$"),
        ("$$", "t:$$ | !"),
        ("$a$b$$a$", "t:$a$b$$a$"),
        // comments
        ("a--b\nc", "w:a | w:c"),
        ("a--b\rc", "w:a | w:c"),
        ("a - -b", "w:a | - | - | w:b"),
        ("a/*b*/c", "w:a | w:c"),
        ("a/*b/*c*/d*/e", "w:a | w:e"),
        ("a/*b/*c*/d", "w:a | !"),
        ("/*/ a */ b", "w:b"),
        ("/***/ b", "w:b"),
        ("/*'*/ b '/*'", "w:b | t:'/*'"),
        ("+/*x*/-", "+ | -"),
        ("a / * b", "w:a | / | * | w:b"),
        ("-- only", ""),
    ] {
        assert_eq!(tokens(sql, false), expected, "{sql:?}");
    }
}

#[test]
fn backslashes_escape_in_plain_strings_where_the_session_says_so() {
    assert_eq!(tokens(r"'a\' b'", true), r"t:'a\' b'");
    assert_eq!(tokens(r"U&'a\' b", true), r"t:U&'a\' | w:b");
}
