use super::{Counted, DATABASES_MAX, Databases, OTHERS};

#[test]
fn a_flood_of_names_is_counted_together() {
    let databases = Databases::default();
    for number in 0..DATABASES_MAX + 10 {
        databases.of(&number.to_string()).add(&Counted { statements: 1, ..Counted::default() });
    }
    let counted = databases.counted();
    assert_eq!(counted.len(), DATABASES_MAX + 1);
    assert_eq!(counted[OTHERS].statements, 10);
    assert_eq!(counted["7"].statements, 1);
}

#[test]
fn what_was_counted_since_is_what_was_added() {
    let databases = Databases::default();
    let one = Counted {
        transactions: 1,
        statements: 2,
        received: 3,
        sent: 4,
        transaction_us: 5,
        statement_us: 6,
        wait_us: 7,
    };
    databases.of("a").add(&one);
    let before = databases.of("a").counted();
    assert_eq!(before, one);
    databases.of("a").add(&one);
    assert_eq!(databases.of("a").counted().since(&before), one);
    assert_eq!(databases.of("a").counted(), one.plus(&one));
}
