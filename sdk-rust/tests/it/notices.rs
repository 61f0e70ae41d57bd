//! Warnings an operator hears once.

use std::io::Write;
use std::sync::{Arc, Mutex};

use sewa_sdk::fake::Fake;
use sewa_sdk::sewa::catalog::v1::{
    ListPlansRequest, ListPlansResponse, catalog_service_client::CatalogServiceClient,
};
use tonic::{Request, Response};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_deprecated_method_and_another_contract_are_told_once() {
    let lines = Lines::default();
    let sink = lines.clone();
    let _log = tracing::subscriber::set_default(
        tracing_subscriber::fmt()
            .with_writer(move || sink.clone())
            .with_ansi(false)
            .finish(),
    );
    let fake = Fake::default().on(
        "sewa.catalog.v1.CatalogService/ListPlans",
        |_: Request<ListPlansRequest>| async {
            let mut reply = Response::new(ListPlansResponse::default());
            for (name, value) in [
                ("deprecation", "@1735689600"),
                ("sunset", "Wed, 31 Dec 2031 23:59:59 GMT"),
                ("x-sewa-contract", "0000"),
            ] {
                reply.metadata_mut().insert(name, value.parse().unwrap());
            }
            Ok(reply)
        },
    );
    let client = fake.client().build().unwrap();
    for _ in 0..3 {
        client
            .service(CatalogServiceClient::new)
            .list_plans(ListPlansRequest::default())
            .await
            .unwrap();
    }
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(
        text.matches("the server warns about this method").count(),
        1,
        "{text}"
    );
    assert!(
        text.contains("CatalogService/ListPlans") && text.contains("31 Dec 2031"),
        "{text}"
    );
    assert_eq!(text.matches("contract is not the one").count(), 1, "{text}");
}

#[test]
fn the_digest_is_that_of_the_descriptors() {
    assert_eq!(sewa_sdk::contract_digest().len(), 64);
    assert!(
        sewa_sdk::contract_digest()
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
    );
}
