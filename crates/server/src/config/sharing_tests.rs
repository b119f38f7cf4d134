//! Whose word holds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Bounds, Database, Own, Sharing};
use crate::config::PoolMode;

fn sharing() -> Sharing {
    let all = Bounds {
        mode: PoolMode::Transaction,
        size_min: 0,
        size_max: None,
        database_connections_max: None,
        user_connections_max: None,
        database_clients_max: None,
        user_clients_max: Some(9),
        query_wait: Duration::from_mins(2),
        query: Duration::ZERO,
        idle_in_transaction: Duration::ZERO,
        client_idle: Duration::ZERO,
    };
    let of = |own| Database { backend_name: Some("real".to_owned()), backend_user: None, own };
    let shop = of(Own {
        mode: Some(PoolMode::Session),
        size_max: Some(7),
        connections_max: Some(20),
        clients_max: Some(30),
        ..Own::default()
    });
    let batch = Own {
        mode: Some(PoolMode::Statement),
        connections_max: Some(3),
        query: Some(Duration::from_secs(5)),
        ..Own::default()
    };
    Sharing {
        all,
        databases: BTreeMap::from([("shop".to_owned(), shop)]),
        only_listed: false,
        users: BTreeMap::from([("batch".to_owned(), batch)]),
    }
}

#[test]
fn the_users_word_comes_before_the_databases_before_that_for_all() {
    let sharing = sharing();
    let anybody = sharing.bounds("other", "somebody");
    assert_eq!(anybody, sharing.all);
    let in_shop = sharing.bounds("shop", "somebody");
    assert_eq!((in_shop.mode, in_shop.size_max), (PoolMode::Session, Some(7)));
    assert_eq!((in_shop.database_connections_max, in_shop.user_connections_max), (Some(20), None));
    assert_eq!((in_shop.database_clients_max, in_shop.user_clients_max), (Some(30), Some(9)));
    let batch = sharing.bounds("shop", "batch");
    assert_eq!((batch.mode, batch.size_max), (PoolMode::Statement, Some(7)));
    assert_eq!((batch.database_connections_max, batch.user_connections_max), (Some(20), Some(3)));
    assert_eq!(batch.query, Duration::from_secs(5));
}

#[test]
fn a_star_is_every_other_database_and_without_it_others_can_be_shut_out() {
    let mut sharing = sharing();
    assert_eq!(sharing.backend_name("shop"), "real");
    assert_eq!(sharing.backend_name("other"), "other");
    assert!(sharing.serves("other"));
    sharing.only_listed = true;
    assert!(sharing.serves("shop") && !sharing.serves("other"));
    let own = Own { size_min: Some(2), ..Own::default() };
    let star = Database { own, ..Database::default() };
    sharing.databases.insert("*".to_owned(), star);
    assert!(sharing.serves("other"));
    assert_eq!(sharing.bounds("other", "x").size_min, 2);
    assert_eq!(sharing.bounds("shop", "x").size_min, 0, "the star is not for those named");
}
