package main

import (
	"context"
	"encoding/json"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	sewa "github.com/sewa-project/sewa/sdk-go"
	catalogv1 "github.com/sewa-project/sewa/sdk-go/catalog/v1"
	orderv1 "github.com/sewa-project/sewa/sdk-go/order/v1"
)

func (s *scene) pages(step *step) object {
	switch step.Pages {
	case catalogv1.CatalogService_ListPlans_FullMethodName[1:]:
		return walk(s, step, catalogv1.NewCatalogServiceClient(s.client).ListPlans, &catalogv1.ListPlansRequest{}, (*catalogv1.ListPlansResponse).GetPlans)
	case orderv1.OrderService_ListOrders_FullMethodName[1:]:
		return walk(s, step, orderv1.NewOrderServiceClient(s.client).ListOrders, &orderv1.ListOrdersRequest{}, (*orderv1.ListOrdersResponse).GetOrders)
	default:
		return object{"error": object{"code": "UNTYPED", "message": "the runner has no list " + step.Pages}}
	}
}

func walk[Q sewa.PageRequest, R sewa.PageReply, T proto.Message](
	s *scene, step *step, method func(context.Context, Q, ...grpc.CallOption) (R, error), request Q, pick func(R) []T,
) object {
	items := []json.RawMessage{}
	result := object{}
	if err := protojson.Unmarshal(step.json(), request); err != nil {
		return s.failed(result, err)
	}
	limit := math.MaxInt
	if step.Limit != nil {
		limit = *step.Limit
	}
	good := func(one object) bool { return one["code"] == "OK" }
	before := s.count(good)
	if step.By == "page" {
		for page, err := range sewa.Pages(context.Background(), method, request) {
			if err != nil {
				s.failed(result, err)
				break
			}
			for _, item := range pick(page) {
				items = append(items, printed(item))
			}
			if len(items) >= limit {
				break
			}
		}
	} else if limit > 0 {
		for item, err := range sewa.Items(context.Background(), method, request, pick) {
			if err != nil {
				s.failed(result, err)
				break
			}
			if items = append(items, printed(item)); len(items) >= limit {
				break
			}
		}
	}
	result["items"], result["pages"] = items, s.count(good)-before
	return result
}
