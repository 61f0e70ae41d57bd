//! The gateway itself: tables built once, shared by every request.

use std::sync::Arc;

use prost_reflect::DescriptorPool;

use crate::call::failure::Schemas;
use crate::config::GatewayConfig;
use crate::error::BuildError;
use crate::route::{self, Routes};
use crate::schema::Schema;
use crate::service::GatewayLayer;

/// A REST face for every RPC of a descriptor pool that has a `google.api.http` annotation.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) core: Arc<Core>,
}

/// What every request reads and none changes.
pub(crate) struct Core {
    pub(crate) schemas: Schemas,
    pub(crate) routes: Routes,
    pub(crate) config: GatewayConfig,
}

impl Gateway {
    /// Reads the annotations of a pool and checks them.
    ///
    /// # Errors
    /// A template that does not parse, two bindings for the same requests, or a binding that names a field it cannot use.
    pub fn new(pool: DescriptorPool, config: GatewayConfig) -> Result<Self, BuildError> {
        let google_rpc = DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .expect("the descriptors tonic-types was built with are well formed");
        let main = Schema::new(&pool);
        let routes = route::compile(&pool, &main)?;
        Ok(Self {
            core: Arc::new(Core {
                schemas: Schemas {
                    main,
                    google_rpc: Schema::new(&google_rpc),
                },
                routes,
                config,
            }),
        })
    }

    /// The layer that puts this gateway in front of a gRPC service.
    pub fn layer(&self) -> GatewayLayer {
        GatewayLayer {
            core: Arc::clone(&self.core),
        }
    }

    /// How many bindings the gateway answers for.
    pub fn route_count(&self) -> usize {
        self.core.routes.list.len()
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("routes", &self.route_count())
            .finish_non_exhaustive()
    }
}
