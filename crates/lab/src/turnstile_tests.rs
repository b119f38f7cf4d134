use super::*;

async fn until(turnstile: &Turnstile, expected: Passed) {
    for _ in 0..500 {
        if turnstile.passed() == expected {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(turnstile.passed(), expected);
}

#[tokio::test]
async fn who_ends_a_connection_is_known() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let turnstile = Turnstile::start(server.local_addr().unwrap()).await.unwrap();
    let mut counts = Passed::default();
    let mut pairs = Vec::new();
    for _ in 0..4 {
        let client = TcpStream::connect(turnstile.address()).await.unwrap();
        pairs.push((client, server.accept().await.unwrap().0));
        counts.opened += 1;
    }
    until(&turnstile, counts).await;

    let (mut client, mut backend) = pairs.pop().unwrap();
    client.write_all(b"there").await.unwrap();
    let mut heard = [0; 5];
    backend.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"there");
    backend.write_all(b"back!").await.unwrap();
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"back!");
    drop(backend);
    counts.ended_by_server += 1;
    until(&turnstile, counts).await;
    assert_eq!(client.read(&mut heard).await.unwrap(), 0, "the client sees the end");

    let (client, _backend) = pairs.pop().unwrap();
    drop(client);
    counts.ended_by_client += 1;
    until(&turnstile, counts).await;

    // The client takes leave and waits until the server has closed.
    let (mut client, mut backend) = pairs.pop().unwrap();
    client.write_all(&GOODBYE).await.unwrap();
    backend.read_exact(&mut heard).await.unwrap();
    drop(backend);
    counts.ended_by_client += 1;
    until(&turnstile, counts).await;

    // A server that resets.
    let (_client, backend) = pairs.pop().unwrap();
    backend.set_zero_linger().unwrap();
    drop(backend);
    counts.ended_by_server += 1;
    until(&turnstile, counts).await;

    // Nobody there.
    drop(server);
    let _client = TcpStream::connect(turnstile.address()).await.unwrap();
    counts.opened += 1;
    counts.ended_by_server += 1;
    until(&turnstile, counts).await;
}
