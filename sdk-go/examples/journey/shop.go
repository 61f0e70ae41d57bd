package main

import (
	"crypto/rand"
	"slices"

	"google.golang.org/protobuf/proto"

	sewa "github.com/sewa-project/sewa/sdk-go"
	apiv1 "github.com/sewa-project/sewa/sdk-go/api/v1"
	catalogv1 "github.com/sewa-project/sewa/sdk-go/catalog/v1"
	eventv1 "github.com/sewa-project/sewa/sdk-go/event/v1"
	orderv1 "github.com/sewa-project/sewa/sdk-go/order/v1"
	sandboxv1 "github.com/sewa-project/sewa/sdk-go/sandbox/v1"
)

// goods are what is bought, and with what it is rebuilt later.
type goods struct {
	draft        *orderv1.OrderDraft
	netPrice     int64
	otherImageID string
}

// purchase is an order that was placed, and how.
type purchase struct {
	key                 string
	request             *orderv1.PlaceOrderRequest
	orderID, instanceID string
}

func orders(s *stage) orderv1.OrderServiceClient { return orderv1.NewOrderServiceClient(s.client) }

func sandbox(s *stage) sandboxv1.SandboxServiceClient {
	return sandboxv1.NewSandboxServiceClient(s.client)
}

// choose finds the cheapest plan by the month, an open region, and two images that fit.
func choose(s *stage) *goods {
	s.asks("look for the cheapest plan by the month")
	catalog := catalogv1.NewCatalogServiceClient(s.client)
	var plan *catalogv1.Plan
	var price int64
	for found, err := range sewa.Items(ctx, catalog.ListPlans, &catalogv1.ListPlansRequest{}, (*catalogv1.ListPlansResponse).GetPlans) {
		must(found, err)
		if amount, ok := monthly(found); ok && (plan == nil || amount < price) {
			plan, price = found, amount
		}
	}
	s.check(plan != nil, "there is no plan with a monthly price")
	regions := must(catalog.ListRegions(ctx, &catalogv1.ListRegionsRequest{})).GetRegions()
	open := slices.IndexFunc(regions, (*catalogv1.Region).GetAvailable)
	images := slices.DeleteFunc(must(catalog.ListImages(ctx, &catalogv1.ListImagesRequest{})).GetImages(), func(image *catalogv1.Image) bool {
		return image.GetMinDiskGib() > plan.GetDiskGib()
	})
	s.check(open >= 0 && len(images) > 1, "no open region, or %d images", len(images))
	s.sees("%s for %s a month before tax, in %s, with %s or %s", plan.GetDisplayName(), rupiah(price), regions[open].GetDisplayName(),
		images[0].GetDisplayName(), images[1].GetDisplayName())
	draft := &orderv1.OrderDraft{
		PlanId: plan.GetId(), RegionId: regions[open].GetId(), ImageId: images[0].GetId(), Period: apiv1.BillingPeriod_BILLING_PERIOD_MONTH,
		Hostname: "web-1", AutoRenew: true,
	}
	return &goods{draft, price, images[1].GetId()}
}

func monthly(plan *catalogv1.Plan) (int64, bool) {
	for _, price := range plan.GetPrices() {
		if price.GetAvailable() && price.GetPeriod() == apiv1.BillingPeriod_BILLING_PERIOD_MONTH {
			return price.GetAmount().GetUnits(), true
		}
	}
	return 0, false
}

// quote asks what it costs, tax included.
func quote(s *stage, wanted *goods) int64 {
	s.asks("price an order without placing it")
	quoted := must(orders(s).PreviewOrder(ctx, &orderv1.PreviewOrderRequest{Draft: wanted.draft})).GetQuote()
	total := quoted.GetTotal().GetUnits()
	var lines int64
	for _, line := range quoted.GetLines() {
		lines += line.GetAmount().GetUnits()
	}
	s.check(lines == total && quoted.GetSubtotal().GetUnits() == wanted.netPrice, "the quote does not add up: %v", quoted)
	available, _ := balance(s)
	s.check(3*total <= available && available < 4*total, "%s are not three periods of %s", rupiah(available), rupiah(total))
	s.sees("%s and %s PPN make %s", rupiah(wanted.netPrice), rupiah(quoted.GetTax().GetUnits()), rupiah(total))
	return total
}

func requestFor(draft *orderv1.OrderDraft, total int64) *orderv1.PlaceOrderRequest {
	return &orderv1.PlaceOrderRequest{Draft: draft, Payment: orderv1.Payment_PAYMENT_WALLET, ExpectedTotal: idr(total)}
}

// buy places the order at exactly that price, and follows it until its machine runs.
func buy(s *stage, wanted *goods, total int64) *purchase {
	before, _ := balance(s)
	s.asks("order %s for %s, renewing by itself", wanted.draft.GetHostname(), rupiah(total))
	bought := fulfilled(s, requestFor(wanted.draft, total))
	available, held := balance(s)
	s.check(available == before-total && held == 0, "%s are available and %s held", rupiah(available), rupiah(held))
	s.sees("the order is ACTIVE, the balance %s, nothing held", rupiah(available))
	return bought
}

func fulfilled(s *stage, request *orderv1.PlaceOrderRequest) *purchase {
	key := rand.Text()
	placed := must(orders(s).PlaceOrder(ctx, request, sewa.IdempotencyKey(key)))
	s.sees("the operation went through %s", s.finish(placed.GetOperation()))
	events := s.follow(placed.GetOrder().GetId(), eventv1.EventType_EVENT_TYPE_ORDER_ACTIVE)
	s.check(names(events) == "ORDER_PLACED, ORDER_PROVISIONING, ORDER_ACTIVE", "the events were %s", names(events))
	s.sees("events %s", names(events))
	order := must(orders(s).GetOrder(ctx, &orderv1.GetOrderRequest{OrderId: placed.GetOrder().GetId()})).GetOrder()
	s.check(order.GetState() == orderv1.Order_STATE_ACTIVE, "the order is %s", order.GetState())
	return &purchase{key, request, order.GetId(), order.GetInstanceId()}
}

func count(s *stage) int {
	return len(must(orders(s).ListOrders(ctx, &orderv1.ListOrdersRequest{})).GetOrders())
}

// repeat sends the order again with its idempotency key, then something else with that key.
func repeat(s *stage, bought *purchase) {
	before, _ := balance(s)
	s.asks("send the same order again with the same idempotency key")
	var info sewa.Info
	again := must(orders(s).PlaceOrder(ctx, bought.request, sewa.IdempotencyKey(bought.key), sewa.ReplyInfo(&info)))
	orderID := again.GetOrder().GetId()
	s.check(info.Replayed && orderID == bought.orderID, "order %s came back, replayed: %t", orderID, info.Replayed)
	after, _ := balance(s)
	s.check(count(s) == 1 && after == before, "there are %d orders now", count(s))
	s.sees("idempotency-replayed: true, order %s again, still the only one, nothing charged", orderID)

	s.asks("send another order with that key")
	other := proto.CloneOf(bought.request)
	other.Draft.Hostname = "another"
	_, err := orders(s).PlaceOrder(ctx, other, sewa.IdempotencyKey(bought.key))
	refusal := s.refused(err, "IDEMPOTENCY_KEY_REUSED")
	s.check(count(s) == 1, "there are %d orders now", count(s))
	s.sees("refused: %v", refusal)
}

// loseNextAnswer has the simulated cloud misbehave once, in the way that hurts most.
func loseNextAnswer(s *stage) {
	s.asks("have the cloud make the next machine and then lose its answer")
	must(sandbox(s).InjectFault(ctx, &sandboxv1.InjectFaultRequest{Kind: sandboxv1.Fault_KIND_ANSWER_LOST, Times: 1}))
	found := faults(s)
	s.check(len(found) == 1 && found[0].GetKind() == sandboxv1.Fault_KIND_ANSWER_LOST && found[0].GetTimesLeft() == 1, "the faults are %v", found)
	s.sees("the fault ANSWER_LOST is in force for one call")
}

func faults(s *stage) []*sandboxv1.Fault {
	return must(sandbox(s).ListFaults(ctx, &sandboxv1.ListFaultsRequest{})).GetFaults()
}

// buyDespiteLostAnswer buys a second machine while the cloud loses its answer, and returns the machine.
func buyDespiteLostAnswer(s *stage, wanted *goods, total int64) string {
	before, _ := balance(s)
	s.asks("order web-2")
	draft := proto.CloneOf(wanted.draft)
	draft.Hostname = "web-2"
	bought := fulfilled(s, requestFor(draft, total))
	s.check(len(faults(s)) == 0, "the fault did not strike: %v", faults(s))
	machines := everything(s)
	after, _ := balance(s)
	s.check(len(machines) == 2 && machines[0].GetIpv4Address() != machines[1].GetIpv4Address() && after == before-total,
		"there are %d instances and %s are available", len(machines), rupiah(after))
	s.sees("the answer was lost, the machine found again: two instances, paid once each")
	return bought.instanceID
}
