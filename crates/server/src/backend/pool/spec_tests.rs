use super::*;

fn key(database: &str, user: &str) -> PoolKey {
    PoolKey { database: database.to_owned(), user: user.to_owned() }
}

fn spec(database_max: Option<usize>, user_max: Option<usize>) -> PoolSpec {
    let login = Login {
        database: String::new(),
        user: String::new(),
        password: None,
        keys: None,
        parameters: Vec::new(),
    };
    PoolSpec { database_max, user_max, ..PoolSpec::unbounded(login) }
}

#[test]
fn pools_of_one_database_share_a_group_and_it_goes_with_the_last() {
    let mut groups = Groups::default();
    let of =
        |groups: &mut Groups, user| groups.limits(&key("a", user), &spec(Some(2), None)).groups;
    let first = of(&mut groups, "x");
    assert_eq!(first, of(&mut groups, "y"));
    groups.forget(&key("a", "x"));
    assert_eq!(first, of(&mut groups, "y"), "another pool is in it");
    groups.forget(&key("a", "y"));
    assert_eq!(groups.by_name.len(), 0);
    assert_ne!(first, of(&mut groups, "z"), "a number is not used again");
}

#[test]
fn names_without_end_leave_nothing_behind() {
    let mut groups = Groups::default();
    for n in 0..1_000 {
        let key = key(&n.to_string(), "x");
        let limits = groups.limits(&key, &spec(Some(1), Some(5)));
        assert!(limits.groups.iter().all(Option::is_some));
        groups.forget(&key);
    }
    assert_eq!(groups.by_name.len(), 0);
}
