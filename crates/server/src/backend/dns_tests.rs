use proptest::prelude::*;
use simple_dns::ResourceRecord;
use simple_dns::rdata::{A, AAAA, CNAME};

use super::*;

const ID: u16 = 0x1234;

fn answer(id: u16, about: &str, kind: TYPE, records: &[(&str, RData<'static>)]) -> Packet<'static> {
    let mut packet = Packet::new_reply(id);
    let name = Name::new(about).unwrap().into_owned();
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    for (name, data) in records {
        let name = Name::new(name).unwrap().into_owned();
        packet.answers.push(ResourceRecord::new(name, CLASS::IN, 0, data.clone()));
    }
    packet
}

fn a(last: u32) -> RData<'static> {
    RData::A(A { address: 0x0a00_0000 + last })
}

fn alias(name: &'static str) -> RData<'static> {
    RData::CNAME(CNAME(Name::new(name).unwrap()))
}

fn heard(packet: &Packet<'_>) -> Option<Result<Heard, Problem>> {
    read(&packet.build_bytes_vec().unwrap(), ID, "db.example", TYPE::A)
}

fn addresses(packet: &Packet<'_>) -> Vec<String> {
    let Some(Ok(Heard::Addresses(addresses))) = heard(packet) else { panic!() };
    addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn only_an_answer_to_our_question_is_heard() {
    let good = answer(ID, "db.example", TYPE::A, &[("db.example", a(1))]);
    assert_eq!(addresses(&good), ["10.0.0.1"]);
    let other_case = answer(ID, "DB.Example", TYPE::A, &[("dB.eXample", a(1))]);
    assert_eq!(addresses(&other_case), ["10.0.0.1"]);
    let mut query = good.clone();
    query.remove_flags(PacketFlag::RESPONSE);
    let mut two = good.clone();
    two.questions.push(two.questions[0].clone());
    for strange in [
        answer(ID + 1, "db.example", TYPE::A, &[("db.example", a(1))]),
        answer(ID, "other.example", TYPE::A, &[("db.example", a(1))]),
        answer(ID, "db.example", TYPE::AAAA, &[("db.example", a(1))]),
        query,
        two,
    ] {
        assert_eq!(heard(&strange), None);
    }
}

#[test]
fn aliases_are_followed_and_strangers_left_out() {
    let packet = answer(
        ID,
        "db.example",
        TYPE::A,
        &[
            ("leader.example", a(3)),
            ("db.example", alias("proxy.example")),
            ("stranger.example", a(9)),
            ("proxy.example", alias("leader.example")),
            ("leader.example", a(4)),
        ],
    );
    assert_eq!(addresses(&packet), ["10.0.0.3", "10.0.0.4"]);
    let circle = answer(
        ID,
        "db.example",
        TYPE::A,
        &[("db.example", alias("other.example")), ("other.example", alias("db.example"))],
    );
    assert!(addresses(&circle).is_empty());
    let many: Vec<_> = (0..200).map(|n| ("db.example", a(n))).collect();
    assert_eq!(addresses(&answer(ID, "db.example", TYPE::A, &many)).len(), ADDRESSES_MAX);
    let six = RData::AAAA(AAAA { address: 1 });
    let packet = answer(ID, "db.example", TYPE::A, &[("db.example", six)]);
    assert_eq!(addresses(&packet), ["::1"]);
}

#[test]
fn codes_and_truncation_are_told_apart() {
    let mut packet = answer(ID, "db.example", TYPE::A, &[]);
    assert_eq!(heard(&packet), Some(Ok(Heard::Addresses(vec![]))));
    *packet.rcode_mut() = RCODE::NameError;
    assert_eq!(heard(&packet), Some(Err(Problem::NotFound)));
    *packet.rcode_mut() = RCODE::ServerFailure;
    assert!(matches!(heard(&packet), Some(Err(Problem::Failed(_)))));
    packet.set_flags(PacketFlag::TRUNCATION);
    assert_eq!(heard(&packet), Some(Ok(Heard::Cut)));
}

#[test]
fn an_answer_that_announces_thousands_of_records_is_not_read() {
    let packet = answer(ID, "db.example", TYPE::A, &[("db.example", a(1))]);
    for at in [4, 6, 8, 10] {
        let mut bytes = packet.build_bytes_vec().unwrap();
        bytes[at] = 0xff;
        assert_eq!(read(&bytes, ID, "db.example", TYPE::A), None);
    }
}

#[test]
fn a_name_that_cannot_be_asked_for_is_refused() {
    assert!(question(1, &"x".repeat(64), TYPE::A).is_err());
    assert!(question(1, &["abcdefg"; 40].join("."), TYPE::A).is_err());
    assert!(question(1, "db.example.", TYPE::A).is_ok());
}

proptest! {
    #[test]
    fn no_answer_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = read(&bytes, ID, "db.example", TYPE::A);
        let mut packet = answer(ID, "db.example", TYPE::A, &[]).build_bytes_vec().unwrap();
        packet[7] = 2;
        packet.extend(bytes);
        let _ = read(&packet, ID, "db.example", TYPE::A);
    }
}
