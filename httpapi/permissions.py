"""Who may use the API."""


def api_permissions(required: bool) -> list[str]:
    """REST framework's DEFAULT_PERMISSION_CLASSES: only those who have signed in, or everybody."""
    return ["rest_framework.permissions.IsAuthenticated" if required else "rest_framework.permissions.AllowAny"]
