"""``GET /v1/models`` and ``/v1/models/{id}``."""

from fastapi import APIRouter

from services.api.access.refusals import ModelRefused
from services.api.completions.translation import to_model_body
from services.api.deps import CallerDep, StateDep
from services.api.schemas.errors import ErrorBody
from services.api.schemas.models import ModelBody, ModelList
from shared.errors import ModelNotFound

router = APIRouter()


@router.get("/v1/models", summary="List the models that live workers offer")
async def list_models(state: StateDep, caller: CallerDep) -> ModelList:
    """Each model once, however many workers serve it; those that the caller may ask."""
    offers = state["catalog"].models()
    return ModelList(data=[to_model_body(offer) for offer in offers if caller.may_ask(offer.id)])


@router.get(
    "/v1/models/{model_id:path}",
    summary="Read one model",
    responses={404: {"model": ErrorBody}},
)
async def get_model(model_id: str, state: StateDep, caller: CallerDep) -> ModelBody:
    """A model by its name, with or without ``:latest``; names may hold slashes."""
    offer = state["catalog"].find(model_id)
    if offer is None or not caller.may_ask(offer.id):
        refusal = ModelNotFound if offer is None else ModelRefused
        raise refusal("This model does not exist.", param="model")
    return to_model_body(offer)
