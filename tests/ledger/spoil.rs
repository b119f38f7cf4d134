//! Is the audit worth anything? Rows are dropped, doubled, kept and halved on the leader itself: it
//! has to find each of them, and nothing else.

use everline_lab::Result;
use everline_lab::ledger::{Entry, Promise, Violation, audit, rows};
use everline_lab::postgres::Node;

/// What is done to the table, how it is undone, and what the audit must say.
struct Spoilt {
    does: String,
    undoes: String,
    found: Violation,
}

/// Spoils the ledger in every way that these entries allow, one after the other.
pub(crate) async fn is_found(node: &Node, entries: &[Entry]) -> Result<()> {
    let spoilt = ways(node, entries).await?;
    assert!(spoilt.len() >= 4, "a run in which nothing was refused proves little");
    for Spoilt { does, undoes, found } in spoilt {
        node.sql(&does).await?;
        let violations = audit(entries, &rows(node).await?).violations;
        assert_eq!(violations, [found], "after {does}");
        node.sql(&undoes).await?;
        let violations = audit(entries, &rows(node).await?).violations;
        assert_eq!(violations, [], "after {undoes}");
        println!("  found: {found}");
    }
    Ok(())
}

async fn ways(node: &Node, entries: &[Entry]) -> Result<Vec<Spoilt>> {
    let insert = |id: u64| format!("INSERT INTO ledger VALUES ({id}, 0)");
    let delete = |id: u64| format!("DELETE FROM ledger WHERE id = {id}");
    let of = |promise: Promise| entries.iter().filter(move |entry| entry.promise == promise);
    let mut ways = Vec::new();
    if let Some(entry) = of(Promise::Acknowledged).next_back() {
        let id = entry.first;
        ways.push(Spoilt { does: delete(id), undoes: insert(id), found: Violation::Lost(id) });
        ways.push(Spoilt {
            does: insert(id),
            undoes: format!("{}; {}", delete(id), insert(id)),
            found: Violation::Doubled(id, 2),
        });
    }
    if let Some(entry) = of(Promise::Refused).next() {
        let id = entry.first;
        ways.push(Spoilt { does: insert(id), undoes: delete(id), found: Violation::Kept(id) });
    }
    let there = rows(node).await?;
    let is_there = |id: u64| there.iter().any(|(there, _)| *there == id);
    for entry in of(Promise::Unknown).filter(|entry| entry.count > 1) {
        let (first, second) = (entry.first, entry.first + 1);
        if is_there(first) {
            let found = Violation::Half(first);
            ways.push(Spoilt { does: delete(first), undoes: insert(first), found });
            break;
        } else if entry.count == 2 {
            let found = Violation::Half(second);
            ways.push(Spoilt { does: insert(first), undoes: delete(first), found });
            break;
        }
    }
    let nobodys = entries.iter().map(|entry| entry.first + entry.count).max().unwrap_or(1);
    let found = Violation::Stray(nobodys);
    ways.push(Spoilt { does: insert(nobodys), undoes: delete(nobodys), found });
    Ok(ways)
}
