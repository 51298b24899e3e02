"""An order-fulfilment application as others write them: nothing in its shape is ours."""
