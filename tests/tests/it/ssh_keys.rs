//! Public keys of an account. [V9]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sewa_sdk::Error;
use sewa_sdk::sewa::instance::v1::{
    CreateSshKeyRequest, DeleteSshKeyRequest, GetSshKeyRequest, ListSshKeysRequest, SshKey,
};
use sewa_tests::{Actor, NOBODYS_ID, World, keyed, reason_of, refused};

/// A public key that differs by its number. Nobody has the private one.
pub(crate) fn public_key(number: u8) -> String {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([number; 32]);
    format!("ssh-ed25519 {}", STANDARD.encode(blob))
}

pub(crate) async fn create(owner: &Actor, name: &str, key: &str) -> Result<SshKey, Error> {
    let request = CreateSshKeyRequest {
        display_name: name.to_owned(),
        public_key: key.to_owned(),
    };
    let reply = owner.ssh_keys().create_ssh_key(request).await?;
    Ok(reply.into_inner().ssh_key.expect("a key"))
}

async fn get(owner: &Actor, id: &str) -> Result<SshKey, Error> {
    let request = GetSshKeyRequest {
        ssh_key_id: id.to_owned(),
    };
    let reply = owner.ssh_keys().get_ssh_key(request).await?;
    Ok(reply.into_inner().ssh_key.expect("a key"))
}

async fn delete(owner: &Actor, id: &str) -> Result<(), Error> {
    let request = DeleteSshKeyRequest {
        ssh_key_id: id.to_owned(),
    };
    Ok(owner.ssh_keys().delete_ssh_key(request).await.map(drop)?)
}

#[tokio::test]
async fn keys_are_kept_listed_read_and_forgotten() {
    let world = World::new().await;
    let (budi, siti) = (world.reseller().await, world.reseller().await);
    let laptop = create(&budi, "laptop", &format!("{} budi@laptop\n", public_key(1)))
        .await
        .unwrap();
    assert_eq!(laptop.public_key, public_key(1), "without the comment");
    assert!(laptop.fingerprint.starts_with("SHA256:"), "{laptop:?}");
    assert_eq!(get(&budi, &laptop.id).await.unwrap(), laptop);
    let error = refused(create(&budi, "again", &public_key(1)).await);
    assert!(error.is("SSH_KEY_EXISTS"), "{error:?}");
    assert_eq!(error.metadata("ssh_key_id"), Some(laptop.id.as_str()));
    // Somebody else's account is another one.
    let hers = create(&siti, "laptop", &public_key(1)).await.unwrap();
    assert_ne!(hers.id, laptop.id);
    for id in [hers.id.as_str(), NOBODYS_ID] {
        assert_eq!(reason_of(get(&budi, id).await), "SSH_KEY_NOT_FOUND");
        assert_eq!(reason_of(delete(&budi, id).await), "SSH_KEY_NOT_FOUND");
    }
    let phone = create(&budi, "phone", &public_key(2)).await.unwrap();
    let mut request = ListSshKeysRequest {
        page_size: 1,
        ..Default::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = budi.ssh_keys().list_ssh_keys(request.clone()).await;
        let page = page.unwrap().into_inner();
        listed.extend(page.ssh_keys);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(listed, [phone, laptop.clone()], "newest first");
    delete(&budi, &laptop.id).await.unwrap();
    assert_eq!(
        reason_of(delete(&budi, &laptop.id).await),
        "SSH_KEY_NOT_FOUND"
    );
    assert_eq!(get(&siti, &hers.id).await.unwrap(), hers);
    let trail = crate::keys::audit(&budi, "sewa.instance.v1.SshKeyService/DeleteSshKey").await;
    assert!(
        trail
            .iter()
            .any(|entry| entry.before_json.contains("laptop")),
        "{trail:?}"
    );
}

#[tokio::test]
async fn what_is_no_public_key_is_refused_with_the_reason() {
    let world = World::new().await;
    let budi = world.reseller().await;
    for (text, problem) in [
        ("hello", "a type and a key in Base64"),
        ("ssh-ed25519 AAAA", "damaged"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "not taken"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1rZXktdjE=",
            "private key",
        ),
    ] {
        let error = refused(create(&budi, "bad", text).await);
        assert!(error.is("SSH_KEY_INVALID"), "{text}: {error:?}");
        let said = error.metadata("problem").unwrap_or_default();
        assert!(said.contains(problem), "{text}: {said}");
    }
}

#[tokio::test]
async fn an_account_has_so_many_keys_and_no_more() {
    let world = World::new().await;
    let budi = world.reseller().await;
    for number in 0..99 {
        create(&budi, "key", &public_key(number)).await.unwrap();
    }
    // Two ask for the last place at once.
    let ask = |number: u8| {
        create(
            &budi,
            "last",
            Box::leak(public_key(number).into_boxed_str()),
        )
    };
    let (one, other) = tokio::join!(ask(100), ask(101));
    let error = refused(one.and(other));
    assert!(error.is("SSH_KEY_LIMIT"), "{error:?}");
    assert_eq!(error.metadata("limit"), Some("100"));
    let request = CreateSshKeyRequest {
        display_name: "one more".to_owned(),
        public_key: public_key(102),
    };
    let more = budi.ssh_keys().create_ssh_key(keyed("more", request)).await;
    assert_eq!(reason_of(more), "SSH_KEY_LIMIT");
}
