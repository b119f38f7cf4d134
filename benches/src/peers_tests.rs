use super::version_in;

#[test]
fn versions_are_found_in_what_programs_say() {
    let rows = [
        ("PgBouncer 1.18.0\nlibevent 2.1.12-stable\n", "1.18.0"),
        ("HAProxy version 2.6.12-1+deb12u4 2026/06/02 - https://haproxy.org/\n", "2.6.12"),
        ("pgcat 1.3.0\n", "1.3.0"),
        ("PgDog v0.1.52 [main@abc]\n", ""),
        ("odyssey: no such option\n", ""),
    ];
    for (said, version) in rows {
        assert_eq!(version_in(said).unwrap_or_default(), version, "{said}");
    }
}
