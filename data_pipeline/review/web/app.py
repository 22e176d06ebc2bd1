"""The application: `create_app(settings)` puts store, pages, guard and routers together.

Convention: routes are thin. They read a form, call one service, and answer with a page or a redirect; whether the
actor may do it is decided by the service, never here and never by hiding a link.

Trap: an unexpected error must not reach the server's log with its text, which may hold what a patient's record says;
the guard logs the kind of error and the line of our code, and answers a plain page.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from data_pipeline.review.errors import LoginError, ReviewError
from data_pipeline.review.store import Store, open_store
from data_pipeline.review.web.deps import LoginNeeded, Review, page
from data_pipeline.review.web.rendering import Pages
from data_pipeline.review.web.security import Guard
from data_pipeline.review.web.settings import Settings
from spinemed.errors import SpineMedError

__all__ = ["create_app"]


def create_app(settings: Settings, store: Store | None = None) -> FastAPI:
    """The web application of one review.

    Args:
        settings: Where the database lies and what is allowed.
        store: An open store; otherwise the one that `settings` names is opened, and its schema brought up.

    Raises:
        ConfigError: The database URL is none, or a catalogue lacks a text.
        ReviewError: The database cannot be reached.
    """
    # Routers are imported here, or a command that only reads `Settings` would pay for them.
    from data_pipeline.review.agreement import routes as agreement
    from data_pipeline.review.deid import routes as deid
    from data_pipeline.review.readers import routes as readers
    from data_pipeline.review.viewer import figure_routes as figures
    from data_pipeline.review.viewer import routes as viewer
    from data_pipeline.review.web.routes import adjudication, items, login, managing, record

    opened = store or open_store(settings.database_url, settings.data_folder)
    app = FastAPI(
        title="SpineMed review",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.openapi else None,
        separate_input_output_schemas=False,
    )
    app.state.review = Review(settings, opened, Pages())
    app.add_middleware(Guard, settings=settings)
    for part in (login, items, adjudication, record, managing):
        app.include_router(part.router)
    # Parts that others wrote: one line each.
    app.include_router(agreement.router)
    app.include_router(readers.router)
    app.include_router(viewer.router)
    app.include_router(figures.router)
    app.include_router(deid.router)

    @app.get("/static/{name:path}", include_in_schema=False)
    async def static(name: str, request: Request) -> Response:
        review: Review = request.app.state.review
        return review.pages.assets.serve(name, request)

    @app.get("/robots.txt", include_in_schema=False)
    async def robots() -> Response:
        return PlainTextResponse("User-agent: *\nDisallow: /\n")

    _error_pages(app)
    return app


def _error_pages(app: FastAPI) -> None:
    """What is answered where a page cannot be."""

    @app.exception_handler(LoginNeeded)
    async def to_login(request: Request, error: Exception) -> Response:
        if request.headers.get("hx-request"):  # no redirect: what is typed on the open page would be lost
            return PlainTextResponse("The session is over.", 401)
        if request.method != "GET":
            return page(request, "message.html", 401, heading_key="error.login", text_key="error.login_text")
        return RedirectResponse("/login", 303)

    @app.exception_handler(SpineMedError)
    async def refused(request: Request, error: Exception) -> Response:
        status = error.status if isinstance(error, ReviewError) else 400
        headers = {}
        if isinstance(error, LoginError) and error.retry_after_s:
            headers["Retry-After"] = str(error.retry_after_s)
        problem = error.problem if isinstance(error, SpineMedError) else ""
        cure = (error.cure or "") if isinstance(error, SpineMedError) else ""
        answer = page(
            request,
            "message.html",
            status,
            heading_key=_heading(status),
            text=f"{problem[:1].upper()}{problem[1:]}.",
            cure=cure,
        )
        answer.headers.update(headers)
        return answer

    @app.exception_handler(RequestValidationError)
    async def unreadable(request: Request, error: Exception) -> Response:
        return page(request, "message.html", 422, heading_key="error.refused", text_key="error.unreadable")

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        headers = (error.headers or {}) if isinstance(error, HTTPException) else {}
        answer = page(request, "message.html", status, heading_key=_heading(status), text_key=_text(status))
        answer.headers.update(headers)
        return answer


def _heading(status: int) -> str:
    return {401: "error.login", 403: "error.forbidden", 404: "error.absent", 409: "error.stale", 429: "error.wait"}.get(
        status, "error.refused"
    )


def _text(status: int) -> str:
    return {403: "error.forbidden_text", 404: "error.absent_text", 405: "error.method_text"}.get(
        status, "error.unreadable"
    )
