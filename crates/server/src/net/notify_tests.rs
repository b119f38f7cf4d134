use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::Notify;

#[test]
fn what_is_said_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    let notify = Notify::new(Some(path.into()), Some(Duration::from_secs(30)));
    notify.say("READY=1\nSTATUS=serving");
    let mut heard = [0; 64];
    let length = systemd.recv(&mut heard).unwrap();
    assert_eq!(&heard[..length], b"READY=1\nSTATUS=serving");
    assert_eq!(notify.beat(), Some(Duration::from_secs(15)));
}

#[test]
fn nobody_need_listen() {
    let notify = Notify::new(None, Some(Duration::from_secs(30)));
    notify.say("READY=1");
    assert_eq!(notify.beat(), None);
    Notify::new(Some("/nowhere/at/all".into()), None).say("READY=1");
}
