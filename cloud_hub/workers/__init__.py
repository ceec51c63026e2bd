"""Big models in processes of their own: a slow or dying model never delays a receipt."""
