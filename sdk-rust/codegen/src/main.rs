//! Generates `sdk-rust/src/generated` from `proto/`: one Rust file per package, one `mod.rs` that nests them, and the descriptor set that the server,
//! the gateway and the SDK read at run time. Usage: `sewa-codegen [OUT_DIR]`, run in the repository's root.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use prost::Message;

/// Types that are not generated here, and the hand-written or library types that stand for them.
const EXTERN: &[(&str, &str)] = &[
    (".google.rpc.Status", "::tonic_types::Status"),
    (".google.type.Money", "crate::money::Money"),
    (".google.api.HttpBody", "crate::http_body::HttpBody"),
];

fn main() -> Result<()> {
    let out = PathBuf::from(
        std::env::args()
            .nth(1)
            .unwrap_or_else(|| "sdk-rust/src/generated".into()),
    );
    std::fs::create_dir_all(&out)?;
    let mut files = Vec::new();
    find_protos(Path::new("proto"), &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new(["proto", "third_party"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    // The encoded form keeps option extensions; prost_types would drop them.
    let encoded = compiler.encode_file_descriptor_set();
    std::fs::write(
        out.join("descriptor.binpb"),
        without_foreign_source_info(&encoded)?,
    )?;

    let set = prost_types::FileDescriptorSet::decode(encoded.as_slice())?;
    let packages: BTreeSet<String> = set
        .file
        .iter()
        .map(|f| f.package().to_owned())
        .filter(|p| p.starts_with("sewa."))
        .collect();

    let generated = tempfile_dir(&out)?;
    let mut config = prost_build::Config::new();
    config.out_dir(&generated).enable_type_names();
    config.bytes(["."]);
    for (proto, rust) in EXTERN {
        config.extern_path(*proto, *rust);
    }
    let secret = secret_messages(&encoded)?;
    let mut builder = tonic_prost_build::configure();
    for message in &secret {
        builder = builder.skip_debug([format!(".{message}")]);
    }
    builder
        .build_server(true)
        .codec_path("crate::codec::Codec")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .emit_rerun_if_changed(false)
        .out_dir(&generated)
        .compile_fds_with_config(set, config)
        .context("generating Rust")?;

    for package in &packages {
        let file = format!("{package}.rs");
        std::fs::copy(generated.join(&file), out.join(&file)).with_context(|| file.clone())?;
    }
    std::fs::remove_dir_all(&generated)?;
    std::fs::write(out.join("mod.rs"), modules(&packages) + &redacted(&secret))?;
    Ok(())
}

/// Messages that hold a secret field themselves: they must not print it.
fn secret_messages(encoded: &[u8]) -> Result<Vec<String>> {
    let pool = prost_reflect::DescriptorPool::decode(encoded)?;
    let secret = pool
        .get_extension_by_name("sewa.api.v1.secret")
        .context("sewa.api.v1.secret is not declared")?;
    let holds = |m: &prost_reflect::MessageDescriptor| {
        m.fields().any(|f| f.options().has_extension(&secret))
    };
    Ok(pool
        .all_messages()
        .filter(holds)
        .map(|m| m.full_name().to_owned())
        .collect())
}

/// `Debug` for messages with secrets: their name and nothing else.
fn redacted(messages: &[String]) -> String {
    let mut text = String::new();
    for message in messages {
        let path = message.split('.').skip(1).collect::<Vec<_>>().join("::");
        let name = message.rsplit('.').next().unwrap_or_default();
        text.push_str(&format!(
            "impl ::core::fmt::Debug for {path} {{\n    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        f.write_str(\"{name} {{ [redacted] }}\")\n    }}\n}}\n"
        ));
    }
    text
}

/// Source positions and comments of third-party files are of no use at run time and are three quarters of the bytes.
fn without_foreign_source_info(encoded: &[u8]) -> Result<Vec<u8>> {
    let pool = prost_reflect::DescriptorPool::decode(encoded)?;
    let mut kept = Vec::new();
    for file in pool.files() {
        let mut bytes = file.encode_to_vec();
        if !file.package_name().starts_with("sewa.") {
            bytes = drop_field(&bytes, 9)?;
        }
        // FileDescriptorSet { repeated FileDescriptorProto file = 1; }
        prost::encoding::encode_key(1, prost::encoding::WireType::LengthDelimited, &mut kept);
        prost::encoding::encode_varint(bytes.len() as u64, &mut kept);
        kept.extend_from_slice(&bytes);
    }
    Ok(kept)
}

/// Copies an encoded message without one of its fields.
fn drop_field(message: &[u8], field: u32) -> Result<Vec<u8>> {
    use prost::encoding::{DecodeContext, decode_key, skip_field};
    let mut rest = message;
    let mut kept = Vec::with_capacity(message.len());
    while !rest.is_empty() {
        let start = rest;
        let (tag, wire) = decode_key(&mut rest)?;
        skip_field(wire, tag, &mut rest, DecodeContext::default())?;
        if tag != field {
            kept.extend_from_slice(&start[..start.len() - rest.len()]);
        }
    }
    Ok(kept)
}

fn find_protos(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path.strip_prefix("proto").unwrap_or(&path).to_owned());
        }
    }
    Ok(())
}

fn tempfile_dir(out: &Path) -> Result<PathBuf> {
    let dir = out.join("fresh");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// `sewa.order.v1` becomes `pub mod order { pub mod v1 { include!(…) } }`.
fn modules(packages: &BTreeSet<String>) -> String {
    let mut text = String::from("// Generated by `make generate` from proto/. Do not edit.\n");
    for package in packages {
        let service = package.split('.').nth(1).unwrap_or_default();
        text.push_str(&format!(
            "pub mod {service} {{\n    pub mod v1 {{\n        include!(\"{package}.rs\");\n    }}\n}}\n"
        ));
    }
    text
}
