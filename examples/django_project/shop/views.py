"""The shop over HTTP."""

import json

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from kato_tasks import KatoTasksError, learn, predict
from shop.models import Visit
from shop.visiting import visited


@csrf_exempt
def visits(request: HttpRequest, person: str) -> JsonResponse:
    """POST {"page": …} or {"left": true}; GET: the person's visits."""
    if request.method == "POST":
        body = json.loads(request.body)
        try:
            if body.get("left"):
                return JsonResponse(learn.delay(person).get(timeout=30))
            return JsonResponse({"visit": visited(person, body["page"])}, status=202)
        except KatoTasksError as refused:
            return JsonResponse({"error": str(refused)}, status=422)
    rows = Visit.objects.filter(person=person).order_by("pk")
    return JsonResponse({"visits": list(rows.values("page", "greeted", "position"))})


def expected(request: HttpRequest, person: str) -> JsonResponse:
    """What the person is likely to look at next."""
    predictions = predict.delay(person).get(timeout=30)["predictions"]
    return JsonResponse({"next": predictions[0]["future"] if predictions else []})
