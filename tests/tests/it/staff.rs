//! What the platform's own people do to the things of customers: all that the permission table gives them, on any account, and under their own name. [I4 I10]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sewa_sdk::sewa::identity::v1::{AuditEntry, ListAuditEntriesRequest};
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{Instance, ListInstancesRequest, RebuildInstanceRequest};
use sewa_sdk::sewa::lifecycle::v1::{ListRenewalsRequest, PreviewRenewalRequest};
use sewa_sdk::sewa::meta::v1::ListPermissionsRequest;
use sewa_sdk::sewa::meta::v1::meta_service_client::MetaServiceClient;
use sewa_sdk::sewa::operation::v1::{GetOperationRequest, ListOperationsRequest};
use sewa_sdk::sewa::order::v1::ListOrdersRequest;
use sewa_sdk::sewa::wallet::v1::{Deposit, GetDepositRequest, ListDepositsRequest};
use sewa_tests::{Actor, NOBODYS_ID, World, reason_of, refused};

use crate::instance::{Verb, ask};

const STAFF_ROLES: [&str; 6] = [
    "support",
    "sysadmin",
    "business",
    "finance",
    "admin",
    "super_admin",
];

/// A customer's things, which staff are to reach.
struct Things {
    budi: Actor,
    machine: Instance,
    deposit: Deposit,
    operation_id: String,
    image_id: String,
    region_id: String,
}

async fn things(world: &World) -> Things {
    let budi = world.reseller().await;
    let deposit = budi.deposit(2_000_000).await;
    let machine = budi.running("web-1").await;
    let draft = budi.draft("web-2").await;
    let listed = ListOperationsRequest::default();
    let operations = budi.operations().list_operations(listed).await.unwrap();
    Things {
        operation_id: operations.into_inner().operations[0].id.clone(),
        image_id: draft.image_id,
        region_id: draft.region_id,
        budi,
        machine,
        deposit,
    }
}

/// `vps-1-1` of the first catalogue.
const LARGER_PLAN: &str = "0192f0c1-0000-7000-8000-000000000002";

/// The reads that staff hold, each with a request about somebody else's thing.
fn reads(things: &Things) -> BTreeMap<&'static str, Value> {
    let whose = json!({"accountId": things.budi.account_id});
    let instance = json!({"instanceId": things.machine.id});
    let operation = json!({"operationId": things.operation_id});
    let draft = json!({"draft": {
        "planId": things.machine.plan_id, "regionId": things.region_id, "imageId": things.image_id, "period": "BILLING_PERIOD_MONTH", "hostname": "web-2",
    }});
    let month = json!({"month": "2026-11"});
    let days = json!({"startDate": "2026-11-01", "endDate": "2026-12-01"});
    let moments = json!({"startTime": "2026-11-01T00:00:00Z", "endTime": "2026-11-30T00:00:00Z"});
    let statement = json!({"accountId": things.budi.account_id, "month": "2026-11"});
    BTreeMap::from([
        ("billing.v1.BillingService/GetBillingProfile", whose.clone()),
        ("invoice.v1.InvoiceService/ListInvoices", whose.clone()),
        ("invoice.v1.InvoiceService/SearchInvoices", month.clone()),
        (
            "invoice.v1.InvoiceService/GetTaxPeriod",
            json!({"month": "2026-11"}),
        ),
        ("identity.v1.IdentityService/GetCaller", json!({})),
        ("identity.v1.IdentityService/GetProfile", json!({})),
        ("identity.v1.IdentityService/GetSecondFactor", json!({})),
        (
            "identity.v1.IdentityService/ListAuditEntries",
            whose.clone(),
        ),
        ("instance.v1.InstanceService/GetInstance", instance.clone()),
        ("instance.v1.InstanceService/ListInstances", whose.clone()),
        ("instance.v1.MetricsService/GetMetrics", instance.clone()),
        ("instance.v1.MetricsService/GetTraffic", instance.clone()),
        ("instance.v1.MetricsService/ListTraffic", whose.clone()),
        ("instance.v1.FirewallService/GetFirewall", instance.clone()),
        (
            "instance.v1.ReverseDnsService/GetReverseDns",
            instance.clone(),
        ),
        ("lifecycle.v1.LifecycleService/ListPolicies", json!({})),
        ("lifecycle.v1.LifecycleService/ListRenewals", whose.clone()),
        (
            "lifecycle.v1.LifecycleService/PreviewPeriodChange",
            json!({"instanceId": things.machine.id, "period": "BILLING_PERIOD_YEAR"}),
        ),
        (
            "lifecycle.v1.LifecycleService/PreviewPlanChange",
            json!({"instanceId": things.machine.id, "planId": LARGER_PLAN}),
        ),
        ("lifecycle.v1.LifecycleService/PreviewRenewal", instance),
        (
            "lifecycle.v1.LifecycleService/PreviewSchedule",
            whose.clone(),
        ),
        (
            "operation.v1.OperationService/GetOperation",
            operation.clone(),
        ),
        (
            "operation.v1.OperationService/ListOperations",
            whose.clone(),
        ),
        ("operation.v1.OperationService/WaitOperation", operation),
        (
            "order.v1.OrderService/GetOrder",
            json!({"orderId": things.machine.order_id}),
        ),
        ("order.v1.OrderService/ListOrders", whose.clone()),
        ("order.v1.OrderService/PreviewOrder", draft),
        ("order.v1.OrderService/SearchOrders", whose.clone()),
        ("promotion.v1.PromotionService/GetReferral", whose.clone()),
        ("report.v1.ReportService/GetOrderCounts", days.clone()),
        ("report.v1.ReportService/GetPlanSales", days.clone()),
        ("report.v1.ReportService/GetReceivablesAging", json!({})),
        ("report.v1.ReportService/GetRevenue", days),
        ("report.v1.ReportService/GetStatement", statement),
        ("report.v1.ReportService/GetSubscriptionMetrics", month),
        ("report.v1.ReportService/ListReceivables", json!({})),
        ("report.v1.ReportService/ListReconciliations", json!({})),
        ("report.v1.ReportService/SearchTransactions", moments),
        (
            "wallet.v1.WalletService/GetDeposit",
            json!({"depositId": things.deposit.id}),
        ),
        ("wallet.v1.WalletService/GetWallet", whose.clone()),
        ("wallet.v1.WalletService/ListDepositChannels", json!({})),
        ("wallet.v1.WalletService/ListDeposits", whose.clone()),
        ("wallet.v1.WalletService/ListTransactions", whose.clone()),
        ("wallet.v1.WalletService/ProveLedger", whose),
    ])
}

/// What else staff hold. What is on the catalogue, orders, promotions, wallets, single invoices, proofs of days, policies, second factors, accounts at providers, their machines and backups of them is tried in
/// the themes of these.
const ELSEWHERE: [&str; 70] = [
    "catalog.v1.CatalogService/ArchivePlan",
    "catalog.v1.CatalogService/CreatePlan",
    "catalog.v1.CatalogService/CreatePlanPromotion",
    "catalog.v1.CatalogService/ListPlanPromotions",
    "catalog.v1.CatalogService/SetPlanPrice",
    "catalog.v1.CatalogService/UpdatePlan",
    "catalog.v1.CatalogService/UpdatePlanPromotion",
    "hypervisor.v1.HypervisorService/CreateAddressPool",
    "hypervisor.v1.HypervisorService/EndNodeMaintenance",
    "hypervisor.v1.HypervisorService/FreeAddress",
    "hypervisor.v1.HypervisorService/ListAddressPools",
    "hypervisor.v1.HypervisorService/ListNodes",
    "hypervisor.v1.HypervisorService/ListPoolAddresses",
    "hypervisor.v1.HypervisorService/ListTemplates",
    "hypervisor.v1.HypervisorService/ReserveAddress",
    "hypervisor.v1.HypervisorService/StartNodeMaintenance",
    "hypervisor.v1.HypervisorService/UpdateAddressPool",
    "identity.v1.IdentityService/ConfirmSecondFactor",
    "identity.v1.IdentityService/CreateSecondFactor",
    "identity.v1.IdentityService/DeleteSecondFactor",
    "identity.v1.IdentityService/ResetRecoveryCodes",
    "identity.v1.IdentityService/StepUp",
    "identity.v1.IdentityService/UpdateProfile",
    "instance.v1.BackupService/GetBackupStatus",
    "instance.v1.BackupService/ListBackups",
    "instance.v1.InstanceService/PowerOffInstance",
    "instance.v1.InstanceService/PowerOnInstance",
    "instance.v1.InstanceService/RebootInstance",
    "instance.v1.InstanceService/ShutdownInstance",
    "inventory.v1.InventoryService/AdoptMachine",
    "inventory.v1.InventoryService/GetInventoryPolicy",
    "inventory.v1.InventoryService/GetInventoryRun",
    "inventory.v1.InventoryService/ListInventoryFindings",
    "inventory.v1.InventoryService/ListInventoryRepairs",
    "inventory.v1.InventoryService/ListInventoryRuns",
    "inventory.v1.InventoryService/RunInventory",
    "inventory.v1.InventoryService/SetInventoryPolicy",
    "invoice.v1.InvoiceService/DownloadInvoice",
    "invoice.v1.InvoiceService/ExportTaxInvoices",
    "invoice.v1.InvoiceService/GetInvoice",
    "lifecycle.v1.LifecycleService/SetAccountPolicy",
    "order.v1.OrderService/ApproveOrderPayment",
    "order.v1.OrderService/GiveUpOrder",
    "order.v1.OrderService/RejectOrderPayment",
    "order.v1.OrderService/RetryOrder",
    "promotion.v1.PromotionService/CreateCoupon",
    "promotion.v1.PromotionService/CreatePromotion",
    "promotion.v1.PromotionService/GetPromotion",
    "promotion.v1.PromotionService/ListCoupons",
    "promotion.v1.PromotionService/ListPromotions",
    "promotion.v1.PromotionService/UpdateCoupon",
    "promotion.v1.PromotionService/UpdatePromotion",
    "provider.v1.ProviderService/CompareProviderAccount",
    "provider.v1.ProviderService/CreateProviderAccount",
    "provider.v1.ProviderService/DisableProviderAccount",
    "provider.v1.ProviderService/EnableProviderAccount",
    "provider.v1.ProviderService/GetProviderAccount",
    "provider.v1.ProviderService/ListProviderAccounts",
    "provider.v1.ProviderService/SetProviderCredentials",
    "provider.v1.ProviderService/TestProviderAccount",
    "provider.v1.ProviderService/UpdateProviderAccount",
    "report.v1.ReportService/ExportReport",
    "report.v1.ReportService/ExportStatement",
    "report.v1.ReportService/GetReconciliation",
    "report.v1.ReportService/ListReconciliationDifferences",
    "report.v1.ReportService/RequestReconciliation",
    "wallet.v1.WalletService/AdjustWallet",
    "wallet.v1.WalletService/ConfirmDeposit",
    "wallet.v1.WalletService/ListDepositsToConfirm",
    "wallet.v1.WalletService/UnfreezeWallet",
];

#[tokio::test]
async fn staff_can_do_everything_their_roles_hold_to_the_things_of_any_account() {
    let world = World::new().await;
    let things = things(&world).await;
    let said = world
        .nobody()
        .service(MetaServiceClient::new)
        .list_permissions(ListPermissionsRequest {
            page_size: 200,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner()
        .methods;
    let reads = reads(&things);
    let mut held = BTreeSet::new();
    for role in STAFF_ROLES {
        let somebody = world.staff(role).await;
        for method in &said {
            if method.permission.is_empty() || !method.roles.iter().any(|r| r == role) {
                continue;
            }
            let name = method.method.strip_prefix("sewa.").unwrap();
            held.insert(name.to_owned());
            let Some(request) = reads.get(name) else {
                continue;
            };
            let called = somebody.client.raw(&method.method).unwrap();
            let answer = called.json(&request.to_string()).await;
            assert!(answer.is_ok(), "{role} {name}: {answer:?}");
        }
        let rename = json!({"profile": {"name": "Rina"}, "updateMask": "name"}).to_string();
        let called = somebody
            .client
            .raw("sewa.identity.v1.IdentityService/UpdateProfile");
        let renamed = called.unwrap().json(&rename).await.unwrap();
        assert!(renamed.contains("Rina"), "{role}: {renamed}");
    }
    let shown: BTreeSet<String> = reads
        .keys()
        .chain(&ELSEWHERE)
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(held, shown, "every power of staff is tried somewhere");
}

/// The writes a member of staff has made.
async fn deeds(reader: &Actor, method: &str) -> Vec<AuditEntry> {
    let request = ListAuditEntriesRequest {
        method: format!("sewa.instance.v1.InstanceService/{method}"),
        ..Default::default()
    };
    let listed = reader.identity().list_audit_entries(request).await;
    listed.unwrap().into_inner().audit_entries
}

#[tokio::test]
async fn a_system_administrator_works_on_a_customers_machine_under_their_own_name() {
    let world = World::new().await;
    let things = things(&world).await;
    let (budi, machine) = (&things.budi, &things.machine);
    let (sysadmin, support) = (world.staff("sysadmin").await, world.staff("support").await);
    let verbs = [
        (Verb::Reboot, State::Running, "RebootInstance"),
        (Verb::PowerOff, State::Stopped, "PowerOffInstance"),
        (Verb::PowerOn, State::Running, "PowerOnInstance"),
        (Verb::Shutdown, State::Stopped, "ShutdownInstance"),
    ];
    for (verb, state, method) in verbs {
        let operation = ask(&sysadmin, verb, &machine.id, "").await.unwrap();
        // Whoever asked can follow it, and so can the owner.
        sysadmin.finish(&operation).await.unwrap();
        let seen = GetOperationRequest {
            operation_id: operation.id.clone(),
        };
        let (by_staff, by_owner) = (
            support.operations().get_operation(seen.clone()).await,
            budi.operations().get_operation(seen).await,
        );
        assert_eq!(
            by_staff.unwrap().into_inner(),
            by_owner.unwrap().into_inner()
        );
        assert_eq!(budi.instance(&machine.id).await.state(), state, "{verb:?}");
        let deeds = deeds(&support, method).await;
        assert_eq!(deeds.len(), 1, "{deeds:?}");
        assert_eq!(deeds[0].actor_id, sysadmin.user_id);
        assert!(deeds[0].request_json.contains(&machine.id), "{deeds:?}");
    }
    // What a role does not hold stays closed, though the machine can be seen.
    let denied = ask(&support, Verb::PowerOn, &machine.id, "").await;
    assert_eq!(reason_of(denied), "PERMISSION_DENIED");
    let rebuild = RebuildInstanceRequest {
        instance_id: machine.id.clone(),
        ..Default::default()
    };
    let denied = sysadmin.instances().rebuild_instance(rebuild).await;
    assert_eq!(reason_of(denied), "PERMISSION_DENIED");
    // An etag that is no longer true stops staff as it stops the owner.
    let stale = ask(&sysadmin, Verb::PowerOn, &machine.id, &machine.etag).await;
    assert_eq!(reason_of(stale), "ETAG_MISMATCH");
}

#[tokio::test]
async fn what_is_nowhere_is_not_found_by_staff_either() {
    let world = World::new().await;
    let admin = world.staff("admin").await;
    let gone = ask(&admin, Verb::PowerOff, NOBODYS_ID, "").await;
    assert_eq!(reason_of(gone), "INSTANCE_NOT_FOUND");
    let request = GetOperationRequest {
        operation_id: NOBODYS_ID.to_owned(),
    };
    let gone = admin.operations().get_operation(request).await;
    assert_eq!(reason_of(gone), "OPERATION_NOT_FOUND");
    let request = GetDepositRequest {
        deposit_id: NOBODYS_ID.to_owned(),
    };
    let gone = admin.wallet().get_deposit(request).await;
    assert_eq!(reason_of(gone), "DEPOSIT_NOT_FOUND");
    let request = PreviewRenewalRequest {
        instance_id: NOBODYS_ID.to_owned(),
    };
    let gone = admin.lifecycle().preview_renewal(request).await;
    assert_eq!(reason_of(gone), "INSTANCE_NOT_FOUND");
}

#[tokio::test]
async fn lists_show_staff_the_account_they_name_and_want_it_named() {
    let world = World::new().await;
    let things = things(&world).await;
    let siti = world.reseller().await;
    siti.deposit(50_000).await;
    let admin = world.staff("admin").await;
    let whose = things.budi.account_id.clone();
    let orders = admin
        .orders()
        .list_orders(ListOrdersRequest {
            account_id: whose.clone(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner()
        .orders;
    assert_eq!(orders.len(), 1);
    assert_eq!(orders[0].id, things.machine.order_id);
    let deposits = |account_id: &str| ListDepositsRequest {
        account_id: account_id.to_owned(),
        ..Default::default()
    };
    let listed = admin.wallet().list_deposits(deposits(&whose)).await;
    let listed = listed.unwrap().into_inner().deposits;
    let mut whole = things.deposit_now().await;
    // A list leaves out what came in for each.
    whole.payments.clear();
    assert_eq!(listed, [whole]);
    // A customer who names somebody else sees their own.
    let listed = siti.wallet().list_deposits(deposits(&whose)).await;
    let listed = listed.unwrap().into_inner().deposits;
    assert_eq!(listed.len(), 1);
    assert_ne!(listed[0].id, things.deposit.id);
    let unnamed = [
        refused(admin.wallet().list_deposits(deposits("")).await),
        refused(
            admin
                .orders()
                .list_orders(ListOrdersRequest::default())
                .await,
        ),
        refused(
            admin
                .instances()
                .list_instances(ListInstancesRequest::default())
                .await,
        ),
        refused(
            admin
                .operations()
                .list_operations(ListOperationsRequest::default())
                .await,
        ),
        refused(
            admin
                .lifecycle()
                .list_renewals(ListRenewalsRequest::default())
                .await,
        ),
    ];
    for error in unnamed {
        assert!(error.is("INVALID_REQUEST"), "{error:?}");
        assert_eq!(error.field_violations()[0].field, "account_id");
    }
}

impl Things {
    async fn deposit_now(&self) -> Deposit {
        let request = GetDepositRequest {
            deposit_id: self.deposit.id.clone(),
        };
        let reply = self.budi.wallet().get_deposit(request).await;
        reply.unwrap().into_inner().deposit.unwrap()
    }
}
